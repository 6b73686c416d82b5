"""The developer's command prepares the machine, then runs the tests or Python in their environment."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import dev.__main__
from dev import checks
from host.prepare import Tools
from host.workspace import Workspace
from system.errors import HostError
from system.files import CHECKOUT

TOOLS = Tools(bin=Path("/bin"), pulumi_home=Path("/home"), kubectl=Path("/bin/kubectl"), virtualization="qemu")


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Record each preparation instead of running it."""
    calls: list[dict[str, Any]] = []

    def prepare(_: Workspace, **options: Any) -> Tools:
        calls.append(options)
        return TOOLS

    monkeypatch.setattr(dev.__main__, "prepare_tools", prepare)
    return calls


def test_tests_run_in_the_prepared_environment(prepared: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[Tools, Sequence[str], bool]] = []
    deadlines: list[float | None] = []

    def run(_: Workspace, tools: Tools, names: Sequence[str], *, thorough: bool, deadline: float | None) -> bool:
        runs.append((tools, names, thorough))
        deadlines.append(deadline)
        return len(runs) == 1

    monkeypatch.setattr(checks, "run", run)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    assert dev.__main__.main(["test", "lint", "unit"]) == 0
    assert dev.__main__.main(["test", "--thorough", "--minutes", "2.5", "lint"]) == 1
    assert runs == [(TOOLS, ["lint", "unit"], False), (TOOLS, ["lint"], True)]
    assert deadlines == [None, 1150.0]
    assert [options["development"] for options in prepared] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--", "-m", "dev.bench", "--fast"], ["-m", "dev.bench", "--fast"]),
        (["reference"], ["-m", "dev.reference"]),
        (["reference", "--check"], ["-m", "dev.reference", "--check"]),
    ],
)
def test_python_gets_its_arguments(
    prepared: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: list[str]
) -> None:
    runs: list[Sequence[str]] = []

    def python(_: Workspace, __: Tools, arguments: Sequence[str]) -> int:
        runs.append(arguments)
        return 3

    monkeypatch.setattr(checks, "python", python)
    assert dev.__main__.main(arguments) == 3
    assert runs == [expected]
    assert prepared


def test_nothing_is_prepared_without_permission(
    prepared: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError):
        dev.__main__.main(["test"])
    assert prepared == []


def test_an_unknown_check_is_refused_without_a_traceback() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "dev", "test", "nosuch"], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "invalid choice: 'nosuch'" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (HostError("This needs root."), 1, "hardway: This needs root.\n"),
        (FileNotFoundError(2, "No such file", "/no/such"), 1, "hardway: /no/such: No such file\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=["a problem of the host", "a missing file", "interrupted"],
)
def test_problems_have_no_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail() -> int:
        raise error

    monkeypatch.setattr(dev.__main__, "main", fail)
    assert dev.__main__.run() == code
    assert capsys.readouterr().err == message
