"""The updates of a stack that the engine has recorded in the backend of this checkout.

The engine records each update at its end, also that of a plain `pulumi up`. Encrypted values of the configuration stay
encrypted there, while `pulumi stack history` prints them decrypted or not at all.

The engine does not know that a lab returned to a snapshot. So this checkout records which updates the lab has lost.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host.workspace import PROJECT, Workspace
from system.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Update:
    """An update that has ended.

    Attributes:
        name: Name of its record.
        kind: Command of the engine: `update` or `destroy`, for example.
        succeeded: True if it did.
        ended: Time of its end, in UTC.
        configuration: Configuration of the stack, with its namespaces. Encrypted values are as in a stack file. None if
            it is unknown.
        commit: Commit of the checkout; empty if it is unknown.
        is_partial: True if the update was limited to some resources, so the lab may lack its configuration.
    """

    name: str
    kind: str
    succeeded: bool
    ended: datetime
    configuration: Mapping[str, Any] | None
    commit: str
    is_partial: bool

    def __str__(self) -> str:
        return f"the configuration of {self.ended:%Y-%m-%d %H:%M} UTC"


def updates(workspace: Workspace, stack: str) -> Iterator[Update]:
    """Yield the updates of a stack, the latest first, without those that the lab has lost by returning to a snapshot.

    Args:
        workspace: The checkout, whose own backend has the records.
        stack: Short name of the stack.
    """
    reverted = workspace.reverted(stack)
    revert: Mapping[str, str] = json.loads(reverted.read_text()) if reverted.exists() else {}
    for path in _records(workspace.state, stack):
        if revert and revert["successful"] < path.name <= revert["latest"]:
            continue
        record = json.loads(path.read_text())
        environment = record.get("environment") or {}
        yield Update(
            name=path.name,
            kind=record["kind"],
            succeeded=record["result"] == "succeeded",
            ended=datetime.fromtimestamp(record["endTime"], UTC),
            configuration=record.get("config") or {},
            commit=environment.get("git.head", ""),
            is_partial="pulumi.flag.target" in environment,
        )


def last_successful(updates: Iterable[Update]) -> Update | None:
    """Return the latest successful update of a whole stack. None if there was none since the stack was deleted.

    Args:
        updates: The updates of the stack, the latest first.
    """
    for update in updates:
        if update.kind == "destroy":
            return None
        if update.kind == "update" and update.succeeded and not update.is_partial:
            return update
    return None


def record_revert(workspace: Workspace, stack: str, successful: str) -> None:
    """Record that a stack returned to a snapshot, so that the updates since the snapshot do not count.

    Args:
        workspace: The checkout.
        stack: Short name of the stack.
        successful: Name of the last successful update before the snapshot. Empty if there was none.
    """
    latest = next((path.name for path in _records(workspace.state, stack)), "")
    record = {"latest": latest, "successful": successful}
    write_atomically(workspace.reverted(stack), json.dumps(record) + "\n")


def copy(state: Path, target: Path, stack: str, successful: str) -> None:
    """Copy the record of the updates of a stack up to one of them.

    Args:
        state: The file backend.
        target: The file backend of another checkout.
        stack: Short name of the stack.
        successful: Name of the last update to copy. Empty for none.
    """
    folder = _folder(target, stack)
    folder.mkdir(parents=True, exist_ok=True)
    for path in _records(state, stack):
        if path.name <= successful:
            shutil.copy2(path, folder)


def _folder(state: Path, stack: str) -> Path:
    return state / ".pulumi/history" / PROJECT / stack


def _records(state: Path, stack: str) -> list[Path]:
    """Return the files of all updates, the latest first."""
    # The time in a name has the same number of digits for centuries.
    return sorted(_folder(state, stack).glob("*.history.json"), reverse=True)
