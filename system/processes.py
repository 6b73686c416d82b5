"""Identify processes by PID, start time and boot ID, because PIDs are reused."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_KILL_TIMEOUT = 60.0
"""Seconds to wait for a process after SIGKILL."""


def boot_id() -> str:
    """Return the kernel's identifier of the current boot."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True)
class Process:
    """A process of one boot. Another process with the same PID never equals it.

    Attributes:
        pid: Process ID.
        started: Start time in clock ticks since boot (field 22 of /proc/PID/stat, proc(5)).
        boot: Identifier of the boot.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has this PID now. None if there is none or it has ended (a zombie)."""
        try:
            stat = (_PROC / str(pid) / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The second field is the program's name in parentheses and may contain blanks and parentheses itself.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]), boot_id())

    @classmethod
    def parse(cls, text: str) -> Process | None:
        """Return the process that `str()` wrote. None if the text is something else, such as an incomplete write."""
        try:
            pid, started, boot = text.split()
            return cls(int(pid), int(started), boot)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.pid} {self.started} {self.boot}\n"

    def age(self) -> float:
        """Return the seconds since the process started."""
        uptime = float((_PROC / "uptime").read_text().split()[0])
        return uptime - self.started / os.sysconf("SC_CLK_TCK")

    def alive(self) -> bool:
        """Return True if the process still runs."""
        return Process.of(self.pid) == self


def read(path: Path) -> Process | None:
    """Return the process recorded in a file, running or not. None if there is no valid record."""
    try:
        return Process.parse(path.read_text())
    except FileNotFoundError:
        return None


def every() -> list[int]:
    """Return the PIDs of all processes at this moment."""
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def ancestors() -> set[int]:
    """Return the PIDs of this process and of its ancestors."""
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
    """End processes and return when none of them runs.

    Args:
        processes: The processes.
        grace: Seconds between SIGTERM and SIGKILL.
    """
    for number, timeout in ((signal.SIGTERM, grace), (signal.SIGKILL, _KILL_TIMEOUT)):
        for process in processes:
            _signal(process, number)
        deadline = time.monotonic() + timeout
        while any(process.alive() for process in processes):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            return


def _signal(process: Process, number: signal.Signals) -> None:
    """Send a signal through a file descriptor, which cannot change its process between check and signal."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if process.alive():
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
