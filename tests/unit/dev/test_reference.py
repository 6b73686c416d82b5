"""The generated parts of the documentation describe the code."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from dev.reference import documents
from dev.reference.__main__ import main
from dev.reference.keys import tables
from dev.reference.picture import picture
from dev.reference.stack_schema import stack_schema
from lab.config.parse import parse
from lab.config.schema import project
from lab.spec import Spec
from system.files import CHECKOUT

STACK_FILES = sorted(CHECKOUT.glob("Pulumi.*.yaml"))


def test_generated_parts_are_current() -> None:
    assert main(["--check"]) == 0, "run python3 -m dev.reference"


def test_the_picture_shows_every_address(dev: Spec) -> None:
    drawn = picture(dev)
    for node in dev.nodes:
        assert f" {node.name} · " in drawn
        assert f" {node.address} " in drawn
    assert all(f" {node.pod_cidr} " in drawn for node in dev.workers)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_the_picture_connects_every_node(count: int) -> None:
    workers = [
        {"name": f"node-{index}", "address": f"10.240.0.{20 + index}", "podCidr": f"10.200.{index}.0/24"}
        for index in range(count)
    ]
    lines = picture(parse({"workers": workers})).splitlines()
    network = next(index for index, line in enumerate(lines) if "═" in line)
    joined_below = [column for column, mark in enumerate(lines[network]) if mark in "╤╪"]
    joined_above = [column for column, mark in enumerate(lines[network]) if mark in "╧╪"]
    assert [lines[network - 1][column] for column in joined_above] == ["┬"]
    assert [lines[network + 1][column] for column in joined_below] == ["┴"] * count


def test_the_tables_list_every_key() -> None:
    text = tables("hardway", project().schema)
    for name, key in project().schema.items():
        assert f"| `hardway:{name}` | {key.type}" in text
        for field in (key.items or key).properties:
            assert f"| `{field}` |" in text


def test_only_the_section_is_replaced() -> None:
    text = "before\n<!-- lab: begin -->\nold\n<!-- lab: end -->\nafter\n"
    assert documents.with_section(text, "lab", "new\n") == (
        "before\n<!-- lab: begin -->\nnew\n<!-- lab: end -->\nafter\n"
    )


@pytest.mark.parametrize("text", ["", "<!-- lab: begin -->\n", "<!-- lab: end -->\n<!-- lab: begin -->\n"])
def test_missing_markers_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="<!-- lab: begin -->"):
        documents.with_section(text, "lab", "new\n")


def test_stale_documents_fail_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    for path, sections in documents.SECTIONS.items():
        markers = "".join(f"<!-- {name}: begin -->\nold\n<!-- {name}: end -->\n" for name in sections)
        (tmp_path / path).write_text(markers, encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").symlink_to(CHECKOUT / "Pulumi.dev.yaml")
    monkeypatch.setattr(documents, "CHECKOUT", tmp_path)
    assert main(["--check"]) == 1
    errors = capsys.readouterr().err
    assert all(f"{path} is out of date" in errors for path in (*documents.SECTIONS, *documents.FILES))
    assert main([]) == 0
    assert main(["--check"]) == 0


def _validate(values: object) -> None:
    jsonschema.validate(values, stack_schema(project()))


def test_the_schema_is_a_json_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(stack_schema(project()))


@pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.stem)
def test_every_stack_file_satisfies_the_schema(file: Path) -> None:
    _validate(yaml.safe_load(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("file", STACK_FILES, ids=lambda file: file.stem)
def test_every_stack_file_names_the_schema(file: Path) -> None:
    assert file.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=docs/stack.schema.json\n")


@pytest.mark.parametrize(
    "config",
    [
        {"hardway:join": {"endpoint": "https://10.0.0.1:6443", "caCertificate": "PEM", "caKey": {"secure": "v1:a"}}},
        {"hardway:maxUnavailable": 2},
        {"hardway:kubelet": {"maxPods": 50, "evictionHard": {"memory.available": "5%"}, "seccompDefault": None}},
        {"hardway:kubelet": {"staticPodURL": {"secure": "v1:a"}}},
        {"hardway:kubeProxy": {"secure": "v1:a"}},
        {"hardway:apiServerFlags": {"audit-log-maxage": 1}},
        {"pulumi:disable-default-providers": ["*"]},
    ],
)
def test_the_schema_accepts_what_the_engine_accepts(config: dict[str, Any]) -> None:
    _validate({"config": config, "encryptionsalt": "v1:salt"})


@pytest.mark.parametrize(
    "config",
    [
        {"hardway:maxUnavailabel": "2"},
        {"hardway:workers": [{"name": "node-0", "address": "10.240.0.20"}]},
        {"hardway:workers": [{"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24", "cpus": 2}]},
        {"hardway:kubelet": ["maxPods"]},
        {"hardway:kubelet": {"maxPodz": 50}},
        {"hardway:kubelet": {"maxPods": "50"}},
        {"hardway:kubelet": {"evictionHard": {"memory.free": "5%"}}},
        {"hardway:kubelet": {"tlsCertFile": "/etc/kubelet.crt"}},
        {"hardway:kubeProxy": {"conntrack": {"mins": 1}}},
        {"hardway:apiServerFlags": {"audit-log-maxages": 1}},
        {"hardway:tlsBootstrap": {"enabled": True}},
        {"hardway:layout": {"kubeletConfig": "/etc/kubelet.yaml"}},
    ],
)
def test_the_schema_rejects_mistakes(config: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        _validate({"config": config})
