"""Running programs, and becoming root by sudo."""

import os
import sys
from pathlib import Path

import pytest

from system.commands import as_root, attempt, run
from system.errors import HostError, ToolchainError
from tests.support.fake_programs import put

ASKS = """
[ "$1" = --non-interactive ] || exec "$@"
echo "sudo: a password is required" >&2
exit 1
"""
"""A sudo that needs a password."""


@pytest.fixture
def anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)


def set_terminal(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)


def test_root_needs_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert as_root() == []


@pytest.mark.usefixtures("anybody")
def test_sudo_asks_for_the_password_on_a_terminal(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "sudo", ASKS)
    set_terminal(monkeypatch, True)
    assert run([*as_root(), "echo", "done"], why="trying it") == "done\n"


@pytest.mark.usefixtures("anybody")
def test_without_a_terminal_the_error_says_what_to_do(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "sudo", ASKS)
    set_terminal(monkeypatch, False)
    with pytest.raises(HostError, match=r"(?s)a password is required.*Run `sudo -v`, then the same command again"):
        as_root()


@pytest.mark.usefixtures("anybody")
def test_passwordless_sudo_needs_no_terminal(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "sudo", 'shift && exec "$@"')
    set_terminal(monkeypatch, False)
    assert run([*as_root(), "echo", "done"], why="trying it") == "done\n"


@pytest.mark.usefixtures("anybody")
def test_a_caller_may_let_sudo_ask(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "sudo", ASKS)
    set_terminal(monkeypatch, False)
    assert as_root(may_ask=True) == ["sudo"]


@pytest.mark.usefixtures("anybody")
def test_a_missing_sudo_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="install sudo"):
        as_root()


@pytest.mark.parametrize("by_line", [False, True])
def test_a_failed_program_is_quoted(programs: Path, by_line: bool) -> None:
    put(programs, "fails", "echo output; echo reason >&2; exit 3")
    with pytest.raises(HostError, match=r"^trying it: `fails` failed \(3\):\nreason$"):
        run(["fails"], why="trying it", error=HostError, on_line=(lambda _: None) if by_line else None)


def test_a_missing_program_is_named() -> None:
    with pytest.raises(ToolchainError, match="trying it: no-such-program cannot be run"):
        run(["no-such-program"], why="trying it")


def test_a_failure_can_be_an_answer(programs: Path) -> None:
    put(programs, "fails", "cat; exit 3")
    result = attempt(["fails"], stdin="input")
    assert (result.returncode, result.stdout) == (3, "input")


def test_lines_arrive_while_the_program_runs(programs: Path) -> None:
    put(programs, "works", 'cat; for n in 1 2 3; do echo "$n" >&2; done')
    lines: list[str] = []
    assert run(["works"], why="trying it", stdin="input", on_line=lines.append) == "input"
    assert lines == ["1", "2", "3"]
