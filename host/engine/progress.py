"""Progress of `pulumi up`, read from the log of its events."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host.engine.urns import resource_name
from system import console
from system.console import Progress

RESOURCES = "resources to create or compare: "
"""Start of the debug message with which the Pulumi program reports their number: see `components.resource_count`."""
_DESCRIPTION = "changes"
_WAITING_AFTER = 20.0
"""Seconds without a finished change after which a line names the resource that the engine waits for."""
_POLL_INTERVAL = 1.0
"""Seconds."""
_FINISHED = ("create", "update", "create-replacement", "delete")
"""Operations after which a resource needs no other one. A replaced resource is deleted by another operation."""


def is_counted(type_: str) -> bool:
    """Return True if resources of a type count. Keys, certificates and providers take no time."""
    return not type_.startswith(("tls:", "pulumi:providers:"))


class Changes:
    """The changes of a run."""

    def __init__(self) -> None:
        self._registered: int | None = None
        self._unchanged: set[str] = set()
        self._begun: set[str] = set()
        self._deleted: set[str] = set()
        self._finished: set[str] = set()
        self._running: dict[str, float] = {}
        self._last_end = time.monotonic()

    @property
    def done(self) -> int:
        """Number of changes that are done."""
        return len(self._finished)

    @property
    def total(self) -> int | None:
        """Number of all changes; None as long as it is not known.

        The engine compares a resource only after those on which it depends. So it is known from the start only in a new
        lab, where every resource is created.
        """
        most = self._most
        if most is None or (most > len(self._begun | self._deleted) and (self._unchanged or not self._begun)):
            return None
        return most

    @property
    def _most(self) -> int | None:
        """The largest possible number of changes, except of resources to delete, which the engine finds at the end."""
        if self._registered is None:
            return None
        return max(self._registered - len(self._unchanged) + len(self._deleted), self.done)

    @property
    def description(self) -> str:
        """A short text with a limit of the number of changes, and what the engine waits for.

        The limit is for as long as their number is not known, and the rest if nothing has ended for a while.
        """
        most, text = self._most, _DESCRIPTION
        if most and self.total is None and self._begun:
            text += f" of at most {most} resources"
        if self._running and time.monotonic() - self._last_end > _WAITING_AFTER:
            text += f", waiting for {min(self._running, key=self._running.__getitem__)}"
        return text

    def read(self, event: dict[str, Any]) -> None:
        """Account for an event of the engine."""
        message = event.get("diagnosticEvent", {}).get("message", "")
        if message.startswith(RESOURCES):
            self._registered = int(message.removeprefix(RESOURCES))
        elif started := event.get("resourcePreEvent"):
            self._start(started["metadata"])
        elif ended := event.get("resOutputsEvent") or event.get("resOpFailedEvent"):
            self._end(ended["metadata"], succeeded="resOutputsEvent" in event)

    def _start(self, step: dict[str, Any]) -> None:
        if not _counts(step) or step["op"] in ("same", "replace"):
            return
        self._running[resource_name(step["urn"])] = time.monotonic()
        if step["op"] == "delete":
            self._deleted.add(step["urn"])
        else:
            self._begun.add(step["urn"])

    def _end(self, step: dict[str, Any], *, succeeded: bool) -> None:
        if not _counts(step):
            return
        if step["op"] == "same":
            self._unchanged.add(step["urn"])
            return
        self._running.pop(resource_name(step["urn"]), None)
        self._last_end = time.monotonic()
        if succeeded and step["op"] in _FINISHED:
            self._finished.add(step["urn"])


@contextlib.contextmanager
def shown(log: Path) -> Iterator[None]:
    """Report the progress of the engine while the block runs it.

    Args:
        log: File that the engine writes its events to.
    """
    ended = threading.Event()
    with console.progress(_DESCRIPTION) as task:
        follower = threading.Thread(target=_follow, args=(log, task, ended), daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()


def _follow(log: Path, task: Progress, ended: threading.Event) -> None:
    changes, position = Changes(), 0
    while not ended.wait(_POLL_INTERVAL):
        if not log.exists():
            continue
        with log.open("rb") as file:
            file.seek(position)
            for line in file:
                # The engine may be writing the last line.
                if not line.endswith(b"\n"):
                    break
                position += len(line)
                changes.read(json.loads(line))
        task.update(done=changes.done, total=changes.total, description=changes.description)


def _counts(step: dict[str, Any]) -> bool:
    state = step.get("new") or step.get("old") or {}
    return bool(state.get("custom")) and is_counted(step["type"])
