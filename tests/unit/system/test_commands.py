"""Becoming root: by sudo, which asks for a password only where somebody can answer."""

import os
import sys
from pathlib import Path

import pytest

from system.commands import as_root, run
from system.errors import ToolchainError
from tests.support.fake_programs import put

ASKS = """
[ "$1" = --non-interactive ] || exec "$@"
echo "sudo: a password is required" >&2
exit 1
"""
"""A sudo that has forgotten who the user is."""


@pytest.fixture
def anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)


def watched(monkeypatch: pytest.MonkeyPatch, by_somebody: bool) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: by_somebody)


def test_root_needs_no_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert as_root() == []


@pytest.mark.usefixtures("anybody")
def test_somebody_who_watches_is_asked_for_the_password(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "sudo", ASKS)
    watched(monkeypatch, True)
    assert run([*as_root(), "echo", "done"], why="trying it") == "done\n"


@pytest.mark.usefixtures("anybody")
def test_where_nobody_can_be_asked_the_error_says_how_to_go_on(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "sudo", ASKS)
    watched(monkeypatch, False)
    with pytest.raises(ToolchainError, match=r"(?s)a password is required.*Run `sudo -v`, then the same again"):
        as_root()


@pytest.mark.usefixtures("anybody")
def test_where_no_password_is_needed_nobody_has_to_watch(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(programs, "sudo", 'shift && exec "$@"')
    watched(monkeypatch, False)
    assert run([*as_root(), "echo", "done"], why="trying it") == "done\n"
