"""Locks that an interrupted engine left on a stack, in the file backend of this checkout.

The engine takes its lock away at its end, even when it is cancelled; where it was killed or the machine lost power the
lock stays, and every later run refuses to start.
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

from system.processes import Process

# The draft of a lock that an engine was killed over is a lock to the next one, too.
_DRAFT = ".tmp"
_LOCKS = (".json", _DRAFT)
# Seconds after which a draft is not being written any more: that takes an engine less than a millisecond.
_WRITING = 5.0


def abandoned(state: Path, stack: str) -> list[Path]:
    """The stack's lock files whose engine ran on this machine and does not run any more."""
    found = []
    for path in sorted((state / ".pulumi/locks").glob(f"**/{stack}/*")):
        if path.suffix not in _LOCKS:
            continue
        try:
            lock = json.loads(path.read_text())
            holder, host, taken = int(lock["pid"]), lock["hostname"], path.stat().st_mtime
        except (OSError, ValueError, TypeError, KeyError):
            if path.suffix == _DRAFT and _cut_short(path):
                found.append(path)
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


@contextlib.contextmanager
def held(state: Path, project: str, stack: str) -> Iterator[bool]:
    """Keeps engines off the stack by a lock like theirs, without abandoned ones; False where one works on it now."""
    folder = state / ".pulumi/locks/organization" / project / stack
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"{uuid.uuid4()}.json"
    draft = state / ".lock"  # not beside it: an engine takes every file there for a lock
    content = {
        "pid": os.getpid(),
        "username": getpass.getuser(),
        "hostname": socket.gethostname(),
        "timestamp": datetime.now(UTC).isoformat(),
    }
    draft.write_text(json.dumps(content))
    draft.replace(own)
    try:
        release(state, stack)
        yield [path for path in folder.iterdir() if path.suffix in _LOCKS] == [own]
    finally:
        own.unlink()


def _is_the_holder(pid: int, taken: float) -> bool:
    """Whether the process with this id can have taken a lock at that time (seconds since the epoch)."""
    process = Process.of(pid)
    return process is not None and time.time() - process.age() <= taken + 1


def _cut_short(draft: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - draft.stat().st_mtime > _WRITING
    return False
