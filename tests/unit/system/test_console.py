"""Steps and progress, as plain lines and as bars."""

from __future__ import annotations

import io
import sys
import time

import pytest

from system import console
from system.console import Steps, Unit, Verbosity, describe, progress


@pytest.fixture(autouse=True)
def verbosity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(console.VERBOSITY_VARIABLE, "normal")


def test_steps_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(3)
    with steps.step("One"):
        pass
    steps.skip("Two", "nothing needs it")
    with steps.step("Three"):
        pass
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if line.startswith("==>")] == [
        "==> [1/3] One",
        "==> [2/3] Two: skipped, nothing needs it",
        "==> [3/3] Three",
    ]
    assert printed.out == ""


def test_quiet_prints_only_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_verbosity(Verbosity.QUIET)
    with Steps(1).step("One"):
        console.say("said")
        console.note("noted")
        console.detail("detailed")
        console.warn("warned")
    assert capsys.readouterr().err == "warned\n"


@pytest.mark.parametrize(("level", "shown"), [(Verbosity.NORMAL, False), (Verbosity.VERBOSE, True)])
def test_details_need_verbose(level: Verbosity, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    console.set_verbosity(level)
    console.detail("detailed")
    assert ("detailed" in capsys.readouterr().err) is shown


def test_an_unknown_verbosity_is_the_normal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(console.VERBOSITY_VARIABLE, "shouting")
    assert console.verbosity() is Verbosity.NORMAL


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("x", 3, 10, Unit.ITEMS, 30.0), "x: 3 of 10 (30 %), about 70 s left"),
        (("x", 1, 10, Unit.ITEMS, 60.0), "x: 1 of 10 (10 %), about 9 min left"),
        (("x", 2**20, 2**22, Unit.BYTES, 1.0), "x: 1.0 MiB of 4.0 MiB (25 %), about 3 s left"),
        (("x", 10, 10, Unit.ITEMS, 30.0), "x: 10 of 10 (100 %)"),
        (("x", 3, None, Unit.ITEMS, 30.0), "x: 3"),
    ],
)
def test_a_plain_line_says_amount_and_time_left(
    arguments: tuple[str, float, float | None, Unit, float], expected: str
) -> None:
    assert describe(*arguments) == expected


def test_plain_lines_are_rare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    monkeypatch.setattr("system.console.time.monotonic", lambda: now)
    with progress("building", 1000) as task:
        for _ in range(1000):
            now += 0.5
            task.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert "building: 100 of 1000 (10 %), about 8 min left" in lines[0]


def test_short_tasks_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("fetching", 3, Unit.BYTES) as task:
        for _ in range(3):
            task.advance()
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return terminal


def test_a_terminal_shows_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    terminal = use_terminal(monkeypatch)
    with progress("one", 2) as one, progress("two", unit=Unit.BYTES) as two:
        one.advance()
        two.update(done=2**20, total=2**21, description="two again")
        console.say("a line between")
        time.sleep(0.3)  # longer than between two refreshes of the display
    printed = terminal.getvalue()
    assert "a line between" in printed
    assert "1 of 2" in printed
    assert "1.0 MiB of 2.0 MiB" in printed


def test_bars_can_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    terminal = use_terminal(monkeypatch)
    for description in ("one", "two"):
        with progress(description, 1) as task:
            task.advance()
    assert {"one", "two"} <= set(terminal.getvalue().split())


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich", None)
    with progress("one", 2) as task:
        task.advance()
    assert terminal.getvalue() == ""
