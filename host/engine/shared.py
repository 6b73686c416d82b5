"""A stack whose state is in another backend than that of the checkout, so that several checkouts can share it.

Only the engine can read such a backend, so everything here is taken from what it prints. It refuses to change a stack
that another engine works on. Two facts it does not tell: whether that engine still runs, and the configuration of any
update but the latest. So a checkout records its own engines, and the configuration of the last successful update.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from host.engine.history import Update, last_successful
from host.workspace import Workspace, command_line
from system import processes
from system.errors import HostError
from system.files import write_atomically

Engine = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a command of the lab, such as `pulumi`, that may fail."""
# pulumi/pkg/v3, backend/diy/lock.go, checkForLock
_HOLDER = re.compile(r"created by (?P<user>\S+)@(?P<host>\S+) \(pid (?P<pid>\d+)\) at (?P<since>\S+)")
_NO_RECORD = "The record of earlier updates cannot be read"
_MAX_START = 120
"""Seconds after its start in which an engine takes its lock."""


@dataclass(frozen=True, kw_only=True)
class LockHolder:
    """An engine that has locked a stack.

    Attributes:
        user: User that it runs as.
        host: Name of its machine.
        pid: Process ID there.
        since: Time of the lock.
    """

    user: str
    host: str
    pid: int
    since: datetime

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (PID {self.pid}) since {self.since:%Y-%m-%d %H:%M:%S} UTC"


def holders_in(message: str) -> list[LockHolder]:
    """Return the holders that the engine names when it refuses to change a stack."""
    return [
        LockHolder(
            user=found["user"],
            host=found["host"],
            pid=int(found["pid"]),
            since=datetime.fromisoformat(found["since"]),
        )
        for found in _HOLDER.finditer(message)
    ]


def lock_holders(engine: Engine, stack: str) -> list[LockHolder]:
    """Return the engines that have locked a stack."""
    # Of all commands that need the lock, only this one changes nothing, because a stack has its own name already.
    return holders_in(engine("pulumi", "stack", "rename", stack, "--stack", stack, "--non-interactive").stderr)


def refusal(stack: str, holders: Sequence[LockHolder]) -> str:
    """Return the message about engines that work on a stack: who they are, and what to do."""
    names = " and ".join(map(str, holders))
    here = [each for each in holders if each.host == socket.gethostname() and processes.Process.of(each.pid) is None]
    killed = " No such process runs on this machine." if here else ""
    return (
        f"Stack {stack} is locked by {names}.{killed} Wait until that run has ended. If it was killed, remove its "
        f"lock: `.lab/bin/pulumi cancel {stack}`; {command_line('up', stack)} then removes what it left behind. "
        "Nothing was changed."
    )


def is_killed(workspace: Workspace, holder: LockHolder) -> bool:
    """Return True if the holder was an engine of this checkout, and has ended.

    Machines can have the same name, so name and PID do not identify it.
    """
    record = workspace.engines / str(holder.pid)
    engine = processes.read(record)
    if engine is None or engine.alive() or holder.host != socket.gethostname():
        return False
    return -1 <= holder.since.timestamp() - record.stat().st_mtime <= _MAX_START


def take_turn(workspace: Workspace, engine: Engine, stack: str) -> bool:
    """Check that no engine works on a stack, and remove the lock of a killed one of this checkout.

    Args:
        workspace: The checkout.
        engine: Runs the engine.
        stack: Short name of the stack.

    Returns:
        True if a killed engine has left pending operations.

    Raises:
        HostError: Another engine works on the stack.
    """
    before = _pending(engine, stack)
    holders = lock_holders(engine, stack)
    # `pulumi cancel` removes all locks.
    if holders and all(is_killed(workspace, holder) for holder in holders):
        engine("pulumi", "cancel", stack, "--yes", "--non-interactive")
        holders = []
    if holders:
        raise HostError(refusal(stack, holders))
    for record in workspace.engines.glob("*"):
        if (process := processes.read(record)) is None or not process.alive():
            record.unlink(missing_ok=True)
    # The engine that began these operations held the lock then, so it has ended without them.
    return bool(before) and _pending(engine, stack) == before


def outputs(engine: Engine, backend: str, stack: str) -> Mapping[str, Any]:
    """Return the outputs of a stack, including secrets.

    Args:
        engine: Runs the engine.
        backend: URL of the backend without credentials.
        stack: Short name of the stack.

    Raises:
        HostError: The passphrase of this checkout does not open its state, or the engine fails.
    """
    answer = engine("pulumi", "stack", "output", "--stack", stack, "--show-secrets", "--json")
    if _is_refused(answer):
        raise HostError(
            f"The passphrase of this checkout does not open the state of stack {stack} in {backend}. All checkouts "
            f"need the same one. Give it once: `PULUMI_CONFIG_PASSPHRASE=… .lab/bin/hardway prepare --stack {stack}`. "
            "Nothing was changed."
        )
    values: Mapping[str, Any] = json.loads(_require(answer, "The outputs of the stack cannot be read"))
    return values


def check_stack_file(engine: Engine, stack: str, file: Path) -> None:
    """Check that the passphrase of this checkout opens the encrypted values of a stack file. The engine adds a salt.

    Args:
        engine: Runs the engine.
        stack: Short name of the stack.
        file: The stack file.

    Raises:
        HostError: It does not.
    """
    if _is_refused(engine("pulumi", "config", "--stack", stack, "--show-secrets", "--json")):
        raise HostError(
            f"The passphrase of this checkout opens the state of stack {stack}, but not {file.name}, whose values "
            "were encrypted with another one. Remove `encryptionsalt:` and every `secure:` from the file, and set the "
            "values again. Nothing was changed."
        )


def updates(workspace: Workspace, engine: Engine, stack: str) -> list[Update]:
    """Return the updates of a stack, the latest first.

    Only the configuration of the latest one is known, and that of the last successful one if it was the latest when
    this checkout called this before.

    Args:
        workspace: The checkout.
        engine: Runs the engine.
        stack: Short name of the stack.

    Raises:
        HostError: The engine fails.
    """
    answer = engine("pulumi", "stack", "history", "--stack", stack, "--json", "--page-size", "0")
    records = json.loads(_require(answer, _NO_RECORD))
    found = [_update(record) for record in records or () if record.get("endTime")]
    if not found:
        return []
    found[0] = replace(found[0], configuration=_latest_configuration(engine, stack))
    successful, kept = last_successful(found), workspace.last_configuration(stack)
    if successful is found[0]:
        kept.parent.mkdir(parents=True, exist_ok=True)
        document = {"ended": successful.ended.isoformat(), "config": successful.configuration}
        write_atomically(kept, json.dumps(document), 0o600)
    elif successful is not None and kept.exists():
        document = json.loads(kept.read_text())
        if document["ended"] == successful.ended.isoformat():
            found[found.index(successful)] = replace(successful, configuration=document["config"])
    return found


def _latest_configuration(engine: Engine, stack: str) -> Mapping[str, Any]:
    """Return the configuration of the latest update, with encrypted values as in a stack file."""
    with tempfile.TemporaryDirectory(prefix="hardway-configuration-") as folder:
        file = Path(folder) / "latest.json"
        _require(engine("pulumi", "config", "refresh", "--stack", stack, "--config-file", str(file)), _NO_RECORD)
        configuration: Mapping[str, Any] = json.loads(file.read_text()).get("config") or {}
        return configuration


def _update(record: Mapping[str, Any]) -> Update:
    environment = record.get("environment") or {}
    return Update(
        name=str(record.get("version", "")),
        kind=record["kind"],
        succeeded=record["result"] == "succeeded",
        ended=datetime.fromisoformat(record["endTime"]),
        configuration=None,
        commit=environment.get("git.head", ""),
        is_partial="pulumi.flag.target" in environment,
    )


def _pending(engine: Engine, stack: str) -> Sequence[Any]:
    answer = engine("pulumi", "stack", "export", "--stack", stack)
    deployment = json.loads(answer.stdout).get("deployment") if answer.returncode == 0 else None
    operations: Sequence[Any] = (deployment or {}).get("pending_operations") or []
    return operations


def _is_refused(answer: subprocess.CompletedProcess[str]) -> bool:
    return answer.returncode != 0 and "incorrect passphrase" in answer.stderr


def _require(answer: subprocess.CompletedProcess[str], problem: str) -> str:
    if answer.returncode != 0:
        raise HostError(f"{problem}:\n{answer.stderr.strip()}")
    return answer.stdout
