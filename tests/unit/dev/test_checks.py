"""The check runner counts tests, finds shell programs and refuses checks that need root."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dev import checks
from dev.checks import Count
from host.workspace import Workspace
from system.errors import HostError
from system.files import CHECKOUT


def report_of(folder: Path, source: str) -> Path:
    """Run pytest on the given source and return its JUnit report."""
    (folder / "test_sample.py").write_text(source)
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder), f"--junitxml={report}"]
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return report


def test_each_outcome_is_counted(tmp_path: Path) -> None:
    source = """\
import pytest
def test_a(): pass
def test_b(): pass
def test_c(): assert False
@pytest.mark.skip
def test_d(): pass
@pytest.fixture
def broken(): raise ValueError
def test_e(broken): pass
"""
    count = Count()
    count.add(report_of(tmp_path, source))
    assert str(count) == "2 passed, 2 failed, 1 skipped"


def test_a_collection_error_counts_as_failed(tmp_path: Path) -> None:
    count = Count()
    count.add(report_of(tmp_path, "import no_such_module_at_all\n"))
    assert str(count) == "0 passed, 1 failed"


def test_counts_of_several_runs_are_summed(tmp_path: Path) -> None:
    report = report_of(tmp_path, "def test_a(): pass\n")
    count = Count()
    count.add(report)
    count.add(report)
    assert str(count) == "2 passed, 0 failed"


def test_shell_programs_are_found_by_first_line(tmp_path: Path) -> None:
    for name, text in {
        "a.sh": "#!/bin/sh\n",
        "b": "#!/usr/bin/env bash\n",
        "c": "#! /bin/bash -e\n",
        "d.py": "#!/usr/bin/env python3\n",
        "e": "no program\n",
        "f": "",
    }.items():
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "."], cwd=tmp_path, check=True)
    assert checks.shell_programs(tmp_path) == ["a.sh", "b", "c"]


def test_a_folder_without_git_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=rf"{tmp_path}: .* failed \(128\):\n.*not a git repository"):
        checks.shell_programs(tmp_path)


@pytest.mark.parametrize("names", [[], ["unit", "engine"]], ids=["all", "one of them"])
def test_checks_that_need_root_are_refused(monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    checks.ensure_allowed(names)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    checks.ensure_allowed(["lint", "unit", "program"])
    with pytest.raises(HostError, match=r"need root .*engine.*sudo make test"):
        checks.ensure_allowed(names)


def test_lint_covers_code_spelling_and_prose() -> None:
    commands = checks.lint_commands(Workspace(CHECKOUT))
    assert {"ruff check", "ruff format", "mypy", "codespell", "prose", "shellcheck"} <= commands.keys()
    assert "README.md" in commands["codespell"]
    assert "assets/node/service" in commands["shellcheck"]
