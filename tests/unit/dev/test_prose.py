"""The prose check finds phrases to avoid in every kind of file, with the right line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dev import prose


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """An empty repository."""
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def found(checkout: Path, name: str, text: str) -> list[tuple[int, str]]:
    """Return the line and the text of each finding in a file."""
    path = checkout / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return [(finding.line, finding.text) for finding in prose.check(checkout, name)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"""What a node has."""\n', [(1, "What")]),
        ('"""Return it.\n\nIt is made anew.\n"""\n', [(3, "anew")]),
        ('def f():\n    """Whether it runs."""\n', [(2, "Whether")]),
        ('A = 1\n"""How long it lasts."""\n', [(2, "How")]),
        ("A = 1\n# Where it lives.\n", [(2, "Where")]),
        ("# It is written\n# anew.\n", [(2, "anew")]),
        ("# It is put\n# back.\n", [(1, "put back")]),
        ("A = 1  # the kubelet alone\n", [(1, "alone")]),
        ('raise ValueError("the file is made anew")\n', [(1, "anew")]),
        ('raise ValueError(f"{name} is made anew")\n', [(1, "anew")]),
        ('raise ValueError(\n    "it has a folder "\n    "of its own"\n)\n', [(2, "of its own")]),
        ('A = "anew"\n', []),
        ("# It uses the API server of its own node. Leave it alone, whatever happens.\n", []),
        ("# The message says what to do. A node has a folder of its own in it.\n", [(1, "of its own")]),
        ('"""Return what the node has."""\n# If it runs, it stands in for the other.\n', []),
        ('"""A worker."""\nA = "is it whole again"\n', []),
    ],
)
def test_python(checkout: Path, text: str, expected: list[tuple[int, str]]) -> None:
    assert found(checkout, "a.py", text) == expected


def test_documents_without_their_code(checkout: Path) -> None:
    text = "# Title\n\nIt is `made anew`, and made\nanew.\n\n```sh\nmake anew\n```\n"
    assert found(checkout, "README.md", text) == [(4, "anew")]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("run", "#!/bin/sh\n# Whether it runs.\necho anew  # done anew\n", [(2, "Whether"), (3, "anew")]),
        ("Pulumi.dev.yaml", "a: anew\nb: 1  # made anew\n", [(2, "anew")]),
        ("Pulumi.yaml", "description: >-\n  It is made\n  anew.\n", [(3, "anew")]),
        ("Makefile", "all: ## do it anew\n", [(1, "anew")]),
        ("a.go", "package a\n\n// What it does.\n", [(3, "What")]),
        ("notes", "anew\n", []),
    ],
)
def test_other_files(checkout: Path, name: str, text: str, expected: list[tuple[int, str]]) -> None:
    assert found(checkout, name, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A = 1  # anew (prose: allow)\n",
        'f("it is made anew")  # prose: allow\n',
        '"""Return it.\n\nIt is made anew.\n"""  # prose: allow\n',
    ],
)
def test_a_line_can_be_exempt(checkout: Path, text: str) -> None:
    assert found(checkout, "a.py", text) == []


def test_long_test_names_are_found(checkout: Path) -> None:
    short, long = "test_one_two_three_four_five_six_seven_eight", "test_" + "_".join("abcdefghijk")
    text = f"def {short}(): pass\ndef {long}(): pass\n"
    assert found(checkout, "tests/unit/test_a.py", text) == [(2, long)]
    assert found(checkout, "a.py", text) == []


def test_links_and_binaries_are_skipped(checkout: Path) -> None:
    (checkout / "link.md").symlink_to("nowhere")
    (checkout / "b.md").write_bytes(b"\xff anew")
    assert prose.check(checkout, "link.md") == prose.check(checkout, "b.md") == []


def test_a_syntax_error_is_a_finding(checkout: Path) -> None:
    assert found(checkout, "a.py", "a = 1\n<<<<<<< HEAD\n") == [(2, "invalid syntax")]


def test_findings_are_printed_with_advice(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "docs").mkdir()
    (checkout / "docs" / "a.md").write_text("It is made anew.\n")
    (checkout / "b.md").write_text("It is fine.\n")
    subprocess.run(["git", "add", "."], cwd=checkout, check=True)
    assert prose.main([], checkout) == 1
    output = capsys.readouterr()
    assert output.out == 'docs/a.md:1: "anew": write again, or recreate, renew\n'
    assert output.err == "1 findings: docs 1\n"
    assert prose.main(["b.md"], checkout) == 0
    assert prose.main(["docs/", "--count"], checkout) == 1
    assert capsys.readouterr().out == ""
