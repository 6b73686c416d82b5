"""The record of a stack that `hardway stop` has stopped, or whose revert to a snapshot is not complete."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from host.workspace import Workspace, command_line
from system.errors import HostError
from system.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class StopRecord:
    """A stack that is stopped, or whose revert was interrupted.

    Attributes:
        stack: Short name of the stack.
        since: Time when it was stopped, such as `2026-01-02T03:04:05Z`.
        reverting: Snapshot whose revert was interrupted, so only some VMs have its state. Empty for none.
    """

    stack: str
    since: str
    reverting: str = ""

    def __str__(self) -> str:
        """Describe the state and the next command."""
        if self.reverting:
            command = command_line(f"revert {self.reverting}", self.stack)
            return (
                f"The revert of stack {self.stack} to snapshot {self.reverting} was interrupted. Repeat it: {command}"
            )
        return f"Stack {self.stack} has been stopped since {self.since}. Start it: {command_line('start', self.stack)}"


def read(workspace: Workspace, stack: str) -> StopRecord | None:
    """Return the record of a stack. None if it is not stopped."""
    path = workspace.stopped(stack)
    return StopRecord(stack=stack, **json.loads(path.read_text())) if path.exists() else None


def write(workspace: Workspace, stack: str, *, reverting: str = "") -> None:
    """Record that a stack is stopped from now on, or is reverted to a snapshot."""
    path = workspace.stopped(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = asdict(StopRecord(stack=stack, since=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", reverting=reverting))
    del record["stack"]
    write_atomically(path, json.dumps(record) + "\n")


def remove(workspace: Workspace, stack: str) -> None:
    """Remove the record of a stack that runs again."""
    workspace.stopped(stack).unlink(missing_ok=True)


def refuse_partial_revert(workspace: Workspace, stack: str) -> None:
    """Refuse to continue while only some VMs are those of a snapshot.

    Raises:
        HostError: The revert to a snapshot has not ended.
    """
    record = read(workspace, stack)
    if record is not None and record.reverting:
        raise HostError(str(record))
