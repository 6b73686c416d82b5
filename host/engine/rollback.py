"""Parts of a rollback of a whole change: the configuration to return to, and what has failed.

A rollback is an ordinary update with the configuration of the last successful one. So nodes and state agree at every
moment, also if it is interrupted: the stack file still has the failed change, and a preview shows it again.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from host.engine.history import Update
from host.engine.urns import resource_name
from system.commands import attempt
from system.files import write_atomically

ROLLBACK_VARIABLE = "HARDWAY_ROLLBACK"
"""If it is set, the Pulumi program returns to an earlier configuration. The value is its file, which replaces the
stack file."""
FAILURE_HANDLED_VARIABLE = "HARDWAY_FAILURE_HANDLED"
"""If it is set, the Pulumi program does not remind of `onFailure` and `confirmWithin`, because `hardway` obeys them."""

_MAX_FILES = 5
_STACK = "pulumi:pulumi:Stack"
_UNCHANGED = ("same", "read")
"""Operations on resources that change nothing."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An update that failed.

    Attributes:
        failed: Name of the resource that failed first, such as `node-1-kubelet`; empty if none did.
        has_changed: True if another resource has changed.
    """

    failed: str
    has_changed: bool


def write_configuration(file: Path, update: Update) -> None:
    """Write the configuration of an update in the format of a stack file.

    JSON is YAML, too. From a file with the suffix .json, the engine would read large numbers as floating point.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"config": update.configuration}, indent=2, ensure_ascii=False)
    write_atomically(file, f"{text}\n", 0o600)


def changed_files(checkout: Path, update: Update) -> str:
    """Name the files of the project that differ from the commit of an update, except stack files.

    A rollback returns to a configuration, and not to an earlier program. Empty if nothing differs, or without Git.
    """
    if not update.commit:
        return ""
    try:
        answer = attempt(
            ["git", "-C", checkout, "diff", "--name-only", update.commit, "--", ".", ":(exclude)Pulumi.*.yaml"]
        )
    except FileNotFoundError:
        return ""
    names = answer.stdout.splitlines() if answer.returncode == 0 else []
    others = f" and {len(names) - _MAX_FILES} more" if len(names) > _MAX_FILES else ""
    return f"{', '.join(names[:_MAX_FILES])}{others}"


def read_events(event_log: Path) -> Attempt:
    """Return what an update did.

    Args:
        event_log: The events of the update. It does not exist if the update never began.
    """
    failed, changed = "", set()
    for line in event_log.read_text().splitlines() if event_log.exists() else ():
        with contextlib.suppress(ValueError):  # a killed engine may leave a part of a line
            event = json.loads(line)
            message, begun, refused = (
                event.get(kind) or {} for kind in ("diagnosticEvent", "resourcePreEvent", "resOpFailedEvent")
            )
            if begun and begun["metadata"]["op"] not in _UNCHANGED:
                changed.add(begun["metadata"]["urn"])
            if refused:
                changed.discard(refused["metadata"]["urn"])
            if message.get("severity") == "error" and _STACK not in message.get("urn", _STACK):
                failed = failed or resource_name(message["urn"])
    return Attempt(failed=failed, has_changed=bool(changed))
