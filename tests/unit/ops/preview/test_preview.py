"""The documents and exit codes of `python3 -m ops.preview`, with a fake engine."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ops.clients import CommandError, Commands
from ops.preview.__main__ import main

PARENT = "urn:pulumi:dev::hardway::hardway:lab:Lab$"
KUBELET = "/var/lib/kubelet/kubelet-config.yaml"


def step(operation: str, type_: str, name: str, parent: str, **more: Any) -> dict[str, Any]:
    """Return a step of a preview.

    Args:
        operation: The engine's word.
        type_: Type of the resource.
        name: Name of the resource.
        parent: Type and name of its parent.
        more: Other fields of the step.
    """
    state = {"parent": f"{PARENT}{parent}"}
    step: dict[str, Any] = {"op": operation, "urn": f"{PARENT}{type_}::{name}", "oldState": state, "newState": state}
    return step | more


def kubelet_changed(node: str, text: str = "maxPods: 50\n") -> dict[str, Any]:
    """Return the step of a kubelet whose configuration changes."""
    urn = f"{PARENT}hardway:node:Worker::{node}"
    old, new = (
        {"parent": urn, "inputs": {"files": {KUBELET: content}, "configHash": content}}
        for content in ("maxPods: 110\n", text)
    )
    return step(
        "update",
        "hardway:service:NodeService",
        f"{node}-kubelet",
        f"hardway:node:Worker::{node}",
        oldState=old,
        newState=new,
    )


def vm_replaced(node: str, *reasons: str) -> dict[str, Any]:
    """Return the step of a VM with other values of inputs, by default of the memory."""
    parent = f"hardway:machine:Machine::{node}"
    return step(
        "replace", "libvirt:index/domain:Domain", f"{node}-domain", parent, replaceReasons=reasons or ["memory"]
    )


CHANGE = [vm_replaced("node-0"), kubelet_changed("node-0"), kubelet_changed("node-1")]


class Engine(Commands):
    """Returns the document of a preview with the given steps."""

    def __init__(self, *steps: dict[str, Any]) -> None:
        self._steps = steps
        self.replaced: list[str] = []

    def preview(self, stack: str, replace: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return the document."""
        assert stack in ("dev", "limited")
        self.replaced = list(replace)
        return {"steps": self._steps}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with a stack file without keys, and one with a limit."""
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    (tmp_path / "Pulumi.limited.yaml").write_text("config:\n  hardway:maxDisruption: restart\n")
    return tmp_path


def test_the_document_lists_nodes_and_services(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "--max-disruption", "restart"], Engine(*CHANGE), checkout) == 3
    kubelet = {"name": "kubelet", "change": "changed", "disruption": "restart", "causes": ["kubelet-config.yaml"]}
    assert json.loads(capsys.readouterr().out) == {
        "stack": "dev",
        "disruption": "recreate",
        "maxDisruption": "restart",
        "beyond": [{"node": "node-0", "service": None, "disruption": "recreate", "causes": ["memory"]}],
        "nodes": [
            {
                "name": "node-0",
                "change": "recreated",
                "disruption": "recreate",
                "causes": ["memory"],
                "services": [kubelet],
                "other": [],
            },
            {
                "name": "node-1",
                "change": "changed",
                "disruption": "restart",
                "causes": [],
                "services": [kubelet],
                "other": [],
            },
        ],
        "order": [{"role": "worker", "nodes": ["node-0", "node-1"], "simultaneous": 1}],
        "other": [],
    }


def test_vm_moves_because_of_its_host(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"], Engine(vm_replaced("node-0", "baseVolumeId", "pool")), checkout) == 0
    [node] = json.loads(capsys.readouterr().out)["nodes"]
    assert (node["change"], node["causes"]) == ("recreated", ["host"])


def test_markdown_has_one_row_for_equal_changes(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [*CHANGE, step("update", "command:local:Command", "access", "hardway:lab:Lab::hardway")]
    assert main(["--markdown", "--max-disruption", "none"], Engine(*steps), checkout) == 3
    assert (
        capsys.readouterr().out
        == """\
### Stack `dev`: disruption **recreate**

**Refused**: `maxDisruption` allows at most **none**.

| What | Nodes | Disruption | Cause |
| --- | --- | --- | --- |
| node | node-0 | recreate | memory |
| kubelet | node-0, node-1 | restart | kubelet-config.yaml |

Order: node-0, node-1 (1 at a time).

Other resources that change, and restart nothing: 1.
"""
    )


def test_markdown_says_that_nothing_changes(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--markdown"], Engine(), checkout) == 0
    assert capsys.readouterr().out == "### Stack `dev`: nothing changes\n"


@pytest.mark.parametrize(
    ("arguments", "steps", "expected"),
    [
        ([], CHANGE, 0),
        (["--stack", "limited"], CHANGE[1:], 0),
        (["--stack", "limited"], CHANGE, 3),
        (["--stack", "limited", "--max-disruption", "reload"], CHANGE[1:], 3),
        (["--stack", "limited", "--max-disruption", "recreate"], CHANGE, 0),
        (["--max-disruption", "none"], [], 0),
    ],
    ids=["no limit", "within", "beyond", "lower limit", "higher limit", "no change"],
)
def test_exit_code_compares_with_the_limit(
    arguments: list[str], steps: list[dict[str, Any]], expected: int, checkout: Path
) -> None:
    assert main(arguments, Engine(*steps), checkout) == expected


def test_the_impact_includes_renewed_certificates(checkout: Path) -> None:
    engine = Engine()
    assert main(["--replace", "urn:a", "--replace", "urn:b"], engine, checkout) == 0
    assert engine.replaced == ["urn:a", "urn:b"]


def test_refusal_names_everything_beyond_the_limit(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--max-disruption", "reload"], Engine(*CHANGE), checkout) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert (
        printed.err
        == """\
hardway: The change needs recreate, and maxDisruption allows at most reload:
  - node-0: recreate (memory)
  - kubelet on node-0: restart (kubelet-config.yaml)
  - kubelet on node-1: restart (kubelet-config.yaml)
Nothing was changed. To allow it once, use --max-disruption recreate.
"""
    )


def test_an_allowed_change_is_one_sentence(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stack", "limited"], Engine(kubelet_changed("node-1")), checkout) == 0
    expected = "Disruption of stack limited: restart, and at most restart is allowed.\n"
    assert capsys.readouterr().out == expected
    assert main(["--stack", "limited", "--quiet"], Engine(kubelet_changed("node-1")), checkout) == 0
    assert capsys.readouterr().out == ""


def test_a_failed_preview_is_reported(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Failing(Engine):
        def preview(self, stack: str, replace: Sequence[str] = ()) -> Mapping[str, Any]:
            assert not replace
            raise CommandError(f"{stack} has an unknown key")

    assert main(["--json"], Failing(), checkout) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "hardway: there is no preview of the change: dev has an unknown key\n"
