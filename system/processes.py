"""Which process is meant: an id alone can come back as somebody else's."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


def boot_id() -> str:
    """The kernel's name for the time since the machine was last started."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Process:
    """One process of one boot, so that a recycled id is never taken for it.

    pid:     its id.
    started: its start time in clock ticks since boot (field 22 of proc(5)'s /proc/PID/stat).
    boot:    the boot it belongs to.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this id now, or None where there is none or it has ended (a zombie)."""
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The second field is the program's name in parentheses and may hold blanks and parentheses itself.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]), boot_id())

    @classmethod
    def parse(cls, text: str) -> Process | None:
        """The process that `str()` wrote as `text`, or None where it is not such a text (a write cut short)."""
        try:
            pid, started, boot = text.split()
            return cls(int(pid), int(started), boot)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.pid} {self.started} {self.boot}\n"

    def age(self) -> float:
        """Seconds since it was started."""
        uptime = float((_PROC / "uptime").read_text().split()[0])
        return uptime - self.started / os.sysconf("SC_CLK_TCK")

    def alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self


def read(path: Path) -> Process | None:
    """The process recorded in `path`, running or not; None where there is no such record."""
    try:
        return Process.parse(path.read_text())
    except FileNotFoundError:
        return None


def every() -> list[int]:
    """The ids of all processes at this moment."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def ancestors() -> set[int]:
    """The ids of this process and of those that started it."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        try:
            pid = int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            break
    return found


def end(processes: Collection[Process], grace: float = 10.0) -> None:
    """Ends the given processes and returns when none of them runs.

    Each is asked (SIGTERM) and, where it has not gone after `grace` seconds, made to (SIGKILL).
    """
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 60.0)):
        for process in processes:
            _signal(process, number)
        deadline = time.monotonic() + patience
        while any(process.alive() for process in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            return


def _signal(process: Process, number: signal.Signals) -> None:
    """Sends a signal through a descriptor, which can't come to mean another process between check and signal."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if process.alive():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
