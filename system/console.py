"""Report progress to a person, on standard error: standard output is for results.

On a terminal where rich is installed, tasks are shown as bars with the time left. Elsewhere they are plain lines, a few
per minute at most. `HARDWAY_VERBOSITY` (quiet, normal, verbose) holds for this process and for all that it starts.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

VERBOSITY_VARIABLE = "HARDWAY_VERBOSITY"
MIN_INTERVAL = 10.0
"""Seconds between two plain lines about the same task."""
MAX_INTERVAL = 60.0
"""Seconds after which a plain line is printed even if less than a tenth of the task was done since the last one."""

_START = time.monotonic()


class Verbosity(StrEnum):
    """Amount of progress that is printed."""

    QUIET = "quiet"
    NORMAL = "normal"
    VERBOSE = "verbose"


class Unit(StrEnum):
    """Unit of a task's amount."""

    ITEMS = "items"
    BYTES = "bytes"


def verbosity() -> Verbosity:
    """Return the verbosity of this process."""
    value = os.environ.get(VERBOSITY_VARIABLE, "")
    return Verbosity(value) if value in list(Verbosity) else Verbosity.NORMAL


def set_verbosity(value: Verbosity) -> None:
    """Set the verbosity of this process and of all programs that it starts from now on."""
    os.environ[VERBOSITY_VARIABLE] = value.value


def say(text: str) -> None:
    """Print one line with the seconds since the start."""
    if verbosity() is not Verbosity.QUIET:
        _print(f"[{time.monotonic() - _START:6.1f} s] {text}")


def note(text: str) -> None:
    """Print one line about the current step, indented below its title."""
    if verbosity() is not Verbosity.QUIET:
        _print(f"    {text}")


def detail(text: str) -> None:
    """Print one line that only `--verbose` shows."""
    if verbosity() is Verbosity.VERBOSE:
        _print(f"    {text}")


def warn(text: str) -> None:
    """Print one line that `--quiet` shows, too."""
    _print(text)


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print the title of a step, and the seconds that it took after it has succeeded."""
    if verbosity() is not Verbosity.QUIET:
        _print(f"==> {title}")
    started = time.monotonic()
    yield
    note(f"done in {time.monotonic() - started:.1f} s")


class Steps:
    """Numbered steps of a command whose number is known from the start: `[3/8] Node binaries`."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._number = 0

    def step(self, title: str) -> contextlib.AbstractContextManager[None]:
        """Run the next step in a `with` block."""
        return step(self._numbered(title))

    def skip(self, title: str, reason: str) -> None:
        """Count a step that is not needed, and print the reason."""
        if verbosity() is not Verbosity.QUIET:
            _print(f"==> {self._numbered(title)}: skipped, {reason}")

    def _numbered(self, title: str) -> str:
        self._number += 1
        return f"[{self._number}/{self._total}] {title}"


class Progress:
    """The progress of one task. Use it through `progress`; it can be called from several threads."""

    def __init__(self, description: str, total: float | None, unit: Unit) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._done = 0.0
        self._lock = threading.Lock()
        self._started = self._last_time = time.monotonic()
        self._last_done = 0.0
        self._bar = _bars.add(description, total, unit)

    def advance(self, amount: float = 1) -> None:
        """Add to the amount that is done."""
        self.update(add=amount)

    def update(
        self,
        *,
        done: float | None = None,
        total: float | None = None,
        description: str | None = None,
        add: float = 0,
    ) -> None:
        """Set what has changed: the amount done, the total as soon as it is known, or the description."""
        with self._lock:
            self._done = (self._done if done is None else done) + add
            self._total = self._total if total is None else total
            self._description = description or self._description
            if self._bar is not None:
                _bars.update(self._bar, self._done, self._total, self._description)
            else:
                self._print_if_due()

    def close(self) -> None:
        """End the task and remove its bar."""
        if self._bar is not None:
            _bars.remove(self._bar)
            self._bar = None

    def _print_if_due(self) -> None:
        now = time.monotonic()
        waited = now - self._last_time
        tenth_done = self._total is None or self._done - self._last_done >= self._total / 10
        if waited < MIN_INTERVAL or (waited < MAX_INTERVAL and not tenth_done):
            return
        self._last_time, self._last_done = now, self._done
        say(describe(self._description, self._done, self._total, self._unit, now - self._started))


@contextlib.contextmanager
def progress(description: str, total: float | None = None, unit: Unit = Unit.ITEMS) -> Iterator[Progress]:
    """Report the progress of a task while the block runs.

    Args:
        description: The task, such as `kubelet v1.37.2: building`.
        total: The whole amount. None if it is not known yet; `Progress.update` can set it later.
        unit: Unit of the amounts: things that are counted, or bytes.

    Yields:
        The task, to be advanced by the caller.
    """
    task = Progress(description, total, unit)
    try:
        yield task
    finally:
        task.close()


def shows_bars() -> bool:
    """Return True while bars are on the terminal. Programs must not write to it then."""
    return _bars.are_shown


def describe(description: str, done: float, total: float | None, unit: Unit, elapsed: float) -> str:
    """Return the plain line about a task.

    Args:
        description: The task.
        done: The amount done.
        total: The whole amount, or None.
        unit: Unit of the amounts.
        elapsed: Seconds since the task started.
    """
    if not total:
        return f"{description}: {_amount(done, unit)}"
    text = f"{description}: {_amount(done, unit)} of {_amount(total, unit)} ({100 * done / total:.0f} %)"
    if 0 < done < total:
        text += f", about {_duration(elapsed / done * (total - done))} left"
    return text


def _amount(value: float, unit: Unit) -> str:
    if unit is Unit.ITEMS:
        return f"{value:.0f}"
    return f"{value / 2**20:.1f} MiB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class _Bars:
    """The bars of all tasks of this process, in one live display of rich. None of it exists outside of a terminal."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._display: Any = None
        self._tasks = 0

    def add(self, description: str, total: float | None, unit: Unit) -> Any:
        """Return the handle of a new bar, or None where plain lines are printed."""
        if verbosity() is Verbosity.QUIET or not sys.stderr.isatty():
            return None
        try:
            from rich import progress as rich_progress
            from rich.console import Console
        except ImportError:
            return None
        with self._lock:
            if self._display is None:
                self._display = rich_progress.Progress(
                    rich_progress.TextColumn("    {task.description}", markup=False),
                    rich_progress.BarColumn(),
                    rich_progress.TextColumn("{task.fields[amount]}"),
                    rich_progress.TimeRemainingColumn(),
                    console=Console(stderr=True),
                    transient=True,
                )
                self._display.start()
            self._tasks += 1
            return self._display.add_task(description, total=total, amount="", unit=unit)

    def update(self, bar: Any, done: float, total: float | None, description: str) -> None:
        with self._lock:
            unit = self._display.tasks[self._display.task_ids.index(bar)].fields["unit"]
            amount = _amount(done, unit) + (f" of {_amount(total, unit)}" if total else "")
            self._display.update(bar, completed=done, total=total, description=description, amount=amount)

    def remove(self, bar: Any) -> None:
        with self._lock:
            self._display.remove_task(bar)
            self._tasks -= 1
            if self._tasks == 0:
                self._display.stop()
                self._display = None

    @property
    def are_shown(self) -> bool:
        return self._display is not None

    def print(self, text: str) -> bool:
        """Print a line above the bars. Return False if there are none."""
        with self._lock:
            if self._display is None:
                return False
            self._display.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return True


_bars = _Bars()


def _print(text: str) -> None:
    if not _bars.print(text):
        print(text, file=sys.stderr, flush=True)
