"""Locks that an interrupted engine left on a stack, in the file backend of this checkout.

An engine removes its lock when it ends, also when it is cancelled. If it was killed or the machine lost power, the lock
stays and every later run refuses to start.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from system.files import write_atomically
from system.processes import Process

# Engines also respect the draft of a lock, which a killed engine may leave.
_DRAFT = ".tmp"
_LOCKS = (".json", _DRAFT)
_MAX_WRITE_TIME = 5.0
"""Seconds after which a draft is abandoned. An engine writes one in less than a millisecond."""


def abandoned(state: Path, stack: str) -> list[Path]:
    """Return the stack's lock files whose engine ran on this machine and has ended."""
    found = []
    for path in sorted((state / ".pulumi/locks").glob(f"**/{stack}/*")):
        if path.suffix not in _LOCKS:
            continue
        try:
            lock = json.loads(path.read_text())
            holder, host, locked_at = int(lock["pid"]), lock["hostname"], path.stat().st_mtime
        except (OSError, ValueError, TypeError, KeyError):
            if path.suffix == _DRAFT and _is_abandoned_draft(path):
                found.append(path)
            continue  # released by now, or in another format: leave it alone
        if host == socket.gethostname() and not _is_holder(holder, locked_at):
            found.append(path)
    return found


def release(state: Path, stack: str) -> int:
    """Remove the abandoned locks of a stack and return their number."""
    paths = abandoned(state, stack)
    for path in paths:
        for file in (path, path.with_name(f"{path.name}.attrs")):
            file.unlink(missing_ok=True)
    return len(paths)


@contextlib.contextmanager
def held(state: Path, project: str, stack: str) -> Iterator[bool]:
    """Keep engines off a stack with a lock in their format, after removing abandoned locks.

    Args:
        state: The file backend.
        project: Name of the project.
        stack: Short name of the stack.

    Yields:
        False if an engine works on the stack now.
    """
    folder = state / ".pulumi/locks/organization" / project / stack
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"{uuid.uuid4()}.json"
    content = {
        "pid": os.getpid(),
        "username": getpass.getuser(),
        "hostname": socket.gethostname(),
        "timestamp": datetime.now(UTC).isoformat(),
    }
    # The draft is in another folder, because an engine treats every file beside the lock as a lock.
    write_atomically(own, json.dumps(content), draft_folder=state)
    try:
        release(state, stack)
        yield [path for path in folder.iterdir() if path.suffix in _LOCKS] == [own]
    finally:
        own.unlink()


def _is_holder(pid: int, locked_at: float) -> bool:
    """Return True if the process with this PID can have created a lock at that time (seconds since the epoch)."""
    process = Process.of(pid)
    return process is not None and time.time() - process.age() <= locked_at + 1


def _is_abandoned_draft(draft: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - draft.stat().st_mtime > _MAX_WRITE_TIME
    return False
