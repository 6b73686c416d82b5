"""A stack in another backend: what the engine prints, and what this checkout has recorded, decide."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from host.engine import shared
from host.engine.shared import LockHolder
from host.workspace import Workspace
from system.errors import HostError

LOCKED = """\
error: the stack is currently locked by {count} lock(s). Either wait for the other process(es) to end or delete the \
lock file with `pulumi cancel`.{holders}
"""
NOW = datetime.now(UTC).replace(microsecond=0)


def holder(pid: int, host: str = "", since: datetime = NOW) -> LockHolder:
    return LockHolder(user="ci", host=host or socket.gethostname(), pid=pid, since=since)


def locked_by(*holders: LockHolder) -> str:
    """Return the engine's message about holders of the lock."""
    lines = [
        f"\n  s3://team/.pulumi/locks/organization/hardway/dev/a.json?x=y: created by {each.user}@{each.host} "
        f"(pid {each.pid}) at {each.since.isoformat()}"
        for each in holders
    ]
    return LOCKED.format(count=len(holders), holders="".join(lines))


class FakeEngine:
    """An engine for a stack in a backend.

    Attributes:
        calls: The commands that it has run.
        holders: The engines that have locked the stack.
        pending: The pending operations.
        history: The updates, the latest first.
        configurations: The configuration of each update.
        refused: Start of a command that the passphrase does not open.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.holders: Sequence[LockHolder] = ()
        self.pending: Sequence[Any] = ()
        self.history: list[dict[str, Any]] = []
        self.configurations: list[Mapping[str, Any]] = []
        self.refused = "nothing"

    def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
        call = " ".join(command).removeprefix("pulumi ")
        self.calls.append(call)
        output, error = "", ""
        if call.startswith(self.refused):
            error = "error: incorrect passphrase, please set PULUMI_CONFIG_PASSPHRASE"
        elif call.startswith("stack rename"):
            error = locked_by(*self.holders) if self.holders else "error: a stack named dev already exists"
        elif call.startswith("stack export"):
            output = json.dumps({"deployment": {"pending_operations": self.pending}})
        elif call.startswith("stack output"):
            output = json.dumps({"nodes": {}})
        elif call.startswith("stack history"):
            output = json.dumps(self.history)
        elif call.startswith("config refresh"):
            Path(command[-1]).write_text(json.dumps({"config": self.configurations[0]}))
        elif call.startswith("cancel"):
            self.holders = ()
        return subprocess.CompletedProcess(command, 1 if error else 0, output, error)

    def update(self, configuration: Mapping[str, Any], result: str = "succeeded", kind: str = "update") -> None:
        """Add an update."""
        time = f"2026-11-29T02:{len(self.history):02}:16.000Z"
        self.history.insert(0, {"kind": kind, "result": result, "endTime": time, "environment": {}})
        self.configurations.insert(0, configuration)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path)
    workspace.engines.mkdir(parents=True)
    return workspace


@pytest.fixture
def killed(workspace: Workspace) -> LockHolder:
    """An engine of this checkout that was killed."""
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    record = workspace.engines / str(ended.pid)
    record.write_text(f"{ended.pid} 1 boot\n")
    os.utime(record, (NOW.timestamp(),) * 2)
    return holder(ended.pid)


def test_holders_are_read_from_the_message_of_the_engine() -> None:
    expected = [holder(1, "one"), holder(22, "two.example")]
    assert shared.holders_in(locked_by(*expected)) == expected
    assert shared.holders_in("error: a stack named dev already exists") == []


def test_stack_that_another_machine_changes_is_refused(workspace: Workspace, engine: FakeEngine) -> None:
    engine.holders = [holder(1, "elsewhere")]
    with pytest.raises(HostError, match=r"locked by ci@elsewhere \(PID 1\) since .* UTC\. Wait .*pulumi cancel dev"):
        shared.take_turn(workspace, engine, "dev")
    assert not any(call.startswith("cancel") for call in engine.calls)


def test_lock_of_a_killed_engine_of_this_checkout_is_removed(
    workspace: Workspace, engine: FakeEngine, killed: LockHolder
) -> None:
    engine.holders, engine.pending = [killed], ["creating"]
    assert shared.take_turn(workspace, engine, "dev")
    assert engine.calls[2] == "cancel dev --yes --non-interactive"
    assert list(workspace.engines.iterdir()) == []


def test_locks_stay_if_one_is_of_another_engine(workspace: Workspace, engine: FakeEngine, killed: LockHolder) -> None:
    engine.holders = [killed, holder(1, "elsewhere")]
    with pytest.raises(HostError, match="ci@elsewhere"):
        shared.take_turn(workspace, engine, "dev")
    assert engine.holders


def test_lock_of_another_machine_with_the_same_name_stays(workspace: Workspace, killed: LockHolder) -> None:
    assert shared.is_killed(workspace, killed)
    assert not shared.is_killed(workspace, holder(killed.pid, since=NOW - timedelta(hours=1)))
    assert not shared.is_killed(workspace, holder(killed.pid, since=NOW + timedelta(hours=1)))
    assert not shared.is_killed(workspace, holder(killed.pid, "elsewhere"))
    assert not shared.is_killed(workspace, holder(os.getpid()))


def test_operations_that_end_meanwhile_are_not_leftovers(workspace: Workspace) -> None:
    class Ending(FakeEngine):
        def __call__(self, *command: str) -> subprocess.CompletedProcess[str]:
            answer = super().__call__(*command)
            self.pending = ()
            return answer

    engine = Ending()
    engine.pending = ["creating"]
    assert not shared.take_turn(workspace, engine, "dev")


def test_last_successful_configuration_is_kept(workspace: Workspace, engine: FakeEngine) -> None:
    assert shared.updates(workspace, engine, "dev") == []
    engine.update({"hardway:token": {"secure": "v1:abc"}})
    shared.updates(workspace, engine, "dev")
    assert workspace.last_configuration("dev").stat().st_mode & 0o077 == 0
    engine.update({"hardway:token": "x"}, result="failed")
    failed, successful = shared.updates(workspace, engine, "dev")
    assert failed.configuration == {"hardway:token": "x"}
    assert successful.configuration == {"hardway:token": {"secure": "v1:abc"}}
    engine.update({"hardway:token": "y"})
    engine.update({"hardway:token": "z"}, result="failed")
    assert shared.updates(workspace, engine, "dev")[1].configuration is None


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ("stack output", "does not open the state of stack dev in s3://team"),
        ("config", r"opens the state of stack dev, but not Pulumi\.dev\.yaml"),
    ],
)
def test_wrong_passphrase_is_told_apart(engine: FakeEngine, refused: str, error: str) -> None:
    engine.refused = refused

    def check() -> None:
        assert shared.outputs(engine, "s3://team", "dev") == {"nodes": {}}
        shared.check_stack_file(engine, "dev", Path("Pulumi.dev.yaml"))

    with pytest.raises(HostError, match=error):
        check()
    engine.refused = "nothing"
    check()
