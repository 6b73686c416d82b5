"""Locks are removed only if their engine cannot be running."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest

from host.engine import locks


def lock(state: Path, pid: int, host: str | None = None, stack: str = "dev") -> Path:
    folder = state / ".pulumi/locks/organization/hardway" / stack
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{pid}.json"
    path.write_text(json.dumps({"pid": pid, "username": "u", "hostname": host or socket.gethostname()}))
    path.with_name(f"{path.name}.attrs").write_text("{}")
    return path


@pytest.fixture
def ended() -> int:
    """Return the PID of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


def test_the_lock_of_a_killed_engine_is_removed(tmp_path: Path, ended: int) -> None:
    path = lock(tmp_path, ended)
    assert locks.release(tmp_path, "dev") == 1
    assert list(path.parent.iterdir()) == []
    assert locks.release(tmp_path, "dev") == 0


def test_the_lock_of_a_running_engine_stays(tmp_path: Path) -> None:
    path = lock(tmp_path, os.getpid())
    assert locks.release(tmp_path, "dev") == 0
    assert path.exists()


def test_the_lock_of_another_machine_stays(tmp_path: Path, ended: int) -> None:
    path = lock(tmp_path, ended, host="elsewhere")
    assert locks.release(tmp_path, "dev") == 0
    assert path.exists()


def test_the_lock_of_another_stack_stays(tmp_path: Path, ended: int) -> None:
    path = lock(tmp_path, ended, stack="other")
    assert locks.release(tmp_path, "dev") == 0
    assert path.exists()


def test_a_reused_pid_does_not_keep_a_lock(tmp_path: Path) -> None:
    path = lock(tmp_path, os.getpid())
    before_this_process = time.time() - 10**6
    os.utime(path, (before_this_process, before_this_process))
    assert locks.release(tmp_path, "dev") == 1


def test_an_unreadable_lock_stays(tmp_path: Path) -> None:
    path = lock(tmp_path, 1)
    path.write_text("{")
    assert locks.release(tmp_path, "dev") == 0
    assert path.exists()
