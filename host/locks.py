"""Locks that an interrupted engine left on a stack, in the file backend of this checkout.

The engine takes its lock away at its end, even when it is cancelled; where it was killed or the machine lost power the
lock stays, and every later run refuses to start.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

from host.processes import Process


def abandoned(state: Path, stack: str) -> list[Path]:
    """The stack's lock files whose engine ran on this machine and does not run any more."""
    found = []
    for path in sorted((state / ".pulumi/locks").glob(f"**/{stack}/*.json")):
        try:
            lock = json.loads(path.read_text())
            holder, host, taken = int(lock["pid"]), lock["hostname"], path.stat().st_mtime
        except (OSError, ValueError, TypeError, KeyError):
            continue  # released meanwhile, or of another make: not ours to judge
        if host == socket.gethostname() and not _is_the_holder(holder, taken):
            found.append(path)
    return found


def release(state: Path, stack: str) -> int:
    """Removes the abandoned locks of the stack and returns how many there were."""
    paths = abandoned(state, stack)
    for path in paths:
        for file in (path, path.with_name(f"{path.name}.attrs")):
            file.unlink(missing_ok=True)
    return len(paths)


def _is_the_holder(pid: int, taken: float) -> bool:
    """Whether the process with this id can have taken a lock at that time (seconds since the epoch)."""
    process = Process.of(pid)
    return process is not None and time.time() - process.age() <= taken + 1
