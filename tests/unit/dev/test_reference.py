"""What README.md says of the lab and its configuration is what they are."""

from pathlib import Path

import pytest

from dev import reference
from lab.config.parse import ConfigurationError, parse
from lab.config.schema import project
from lab.spec import Spec


def test_readme_says_what_the_lab_and_its_configuration_are() -> None:
    assert reference.main(["--check"]) == 0, "run python3 -m dev.reference"


def test_the_picture_shows_every_node_with_its_addresses(dev: Spec) -> None:
    picture = reference.picture(dev)
    for node in dev.nodes:
        assert f" {node.name} · " in picture
        assert f" {node.address} " in picture
    assert all(f" {node.pod_cidr} " in picture for node in dev.workers)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_the_picture_joins_every_node_to_the_network(count: int) -> None:
    workers = [
        {"name": f"node-{index}", "address": f"10.240.0.{20 + index}", "podCidr": f"10.200.{index}.0/24"}
        for index in range(count)
    ]
    lines = reference.picture(parse({"workers": workers})).splitlines()
    network = next(index for index, line in enumerate(lines) if "═" in line)
    joined_below = [column for column, mark in enumerate(lines[network]) if mark in "╤╪"]
    joined_above = [column for column, mark in enumerate(lines[network]) if mark in "╧╪"]
    assert [lines[network - 1][column] for column in joined_above] == ["┬"]
    assert [lines[network + 1][column] for column in joined_below] == ["┴"] * count


def test_the_reference_lists_every_key() -> None:
    text = reference.reference("hardway", project().schema)
    for name, setting in project().schema.items():
        assert f"| `hardway:{name}` | {setting.type}" in text
        for field in (setting.items or setting).properties:
            assert f"| `{field}` |" in text


def test_only_what_stands_between_the_markers_is_replaced() -> None:
    text = "before\n<!-- lab: begin -->\nold\n<!-- lab: end -->\nafter\n"
    assert reference.with_section(text, "lab", "new\n") == (
        "before\n<!-- lab: begin -->\nnew\n<!-- lab: end -->\nafter\n"
    )


@pytest.mark.parametrize("text", ["", "<!-- lab: begin -->\n", "<!-- lab: end -->\n<!-- lab: begin -->\n"])
def test_missing_markers_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="<!-- lab: begin -->"):
        reference.with_section(text, "lab", "new\n")


def test_a_stale_readme_fails_the_check_and_is_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    markers = "".join(f"<!-- {name}: begin -->\nold\n<!-- {name}: end -->\n" for name in reference.sections())
    readme.write_text(markers, encoding="utf-8")
    monkeypatch.setattr(reference, "README", readme)
    assert reference.main(["--check"]) == 1
    assert "python3 -m dev.reference" in capsys.readouterr().err
    assert readme.read_text(encoding="utf-8") == markers
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_the_message_that_readme_shows_is_the_one_that_is_printed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(
            {
                "maxUnavailabel": "2",
                "workers": [
                    {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"},
                    {"name": "node-1", "address": "10.250.0.21", "podCidr": "10.200.1.0/24"},
                ],
            }
        )
    assert f"\n{caught.value}\n" in reference.README.read_text(encoding="utf-8")
