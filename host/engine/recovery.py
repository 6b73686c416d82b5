"""Remove what a killed engine left behind, because the next run would fail on it.

An engine that ends by itself, also a cancelled one, leaves none of this. A killed one leaves

- its lock: every later run refuses to start;
- its plugins: they notice minutes later that their engine is gone, and continue their work until then;
- libvirt objects that were being created or deleted: the state has them as pending operations and not as resources, so
  the next run finds their names in use, or resources without objects;
- a half-applied change of a service: the state still has the old one, so a configuration that returns to it would show
  no change, although the node may run the old or the new state. It is recorded as drift, which the next run repairs;
- a torn file: the state itself is written as a draft and renamed, so it is complete. But the library below the engine
  writes the file's attributes into `NAME.attrs` in place. If that file is empty, every command fails ("failed to load
  checkpoint: EOF"). If it is missing, everything works (gocloud.dev/blob/fileblob, getAttrs).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host.engine import locks, stack_file
from host.engine.drift import record_drift
from host.engine.urns import resource_name
from host.libvirt import objects
from host.libvirt.objects import LibvirtObject
from host.workspace import PROJECT
from system import console, processes
from system.commands import run
from system.errors import HostError
from system.files import locked
from system.processes import Process

# Set by engine.sh: the engine that started a process. All descendants inherit it.
ENGINE_VARIABLE = "HARDWAY_ENGINE"
INTERRUPTED = "an interrupted change"
"""Description of the drift that a half-applied change may have left."""
_MACHINE = "hardway:machine:Machine"
_COMMANDS = ("command:remote:Command", "command:local:Command")
"""Commands that change a node. A local one sends binaries to it and deletes those that the node no longer needs."""
_STATE_FILES = (".json", ".json.gz", ".json.zst")
_BACKEND_VARIABLE = "PULUMI_BACKEND_URL"
_LOCK = ".recovering"


def recover(checkout: Path, state: Path, pulumi: Path, *, state_only: bool = False) -> None:
    """Remove what killed engines left of the project's stacks in a file backend, and print what that was.

    Also restores the salts that stack files have lost.

    A stack that an engine works on now is left alone. Run it where libvirt can be reached, with the environment of
    `.lab/env`. After an interruption, run it again.

    Args:
        checkout: Folder of Pulumi.yaml.
        state: The file backend.
        pulumi: The engine.
        state_only: True to make only the state's own files readable, for a command that changes nothing.

    Raises:
        HostError: Something could not be removed.
    """
    with locked(state / _LOCK):
        if not state_only:
            processes.end(_orphans(state.as_uri()))
        _repair_backend(state)
        stack_file.restore_salts(checkout, state / ".pulumi/stacks" / PROJECT)
        for stack, has_state in sorted(_stacks(state).items()):
            with locks.held(state, PROJECT, stack) as held:
                if not held:
                    continue
                _repair_stack(state, stack)
                if state_only or not has_state:
                    continue
                deployment = _undo(checkout, pulumi, stack)
            _clear_pending(checkout, pulumi, stack, deployment)


def recover_shared(checkout: Path, backend: str, pulumi: Path, stack: str) -> None:
    """Remove what killed engines left of a stack in a backend that only the engine can read. It must not be locked.

    Args:
        checkout: Folder of Pulumi.yaml.
        backend: URL of the backend.
        pulumi: The engine.
        stack: Short name of the stack.

    Raises:
        HostError: Something could not be removed.
    """
    processes.end(_orphans(backend))
    _clear_pending(checkout, pulumi, stack, _undo(checkout, pulumi, stack))


def unfinished(deployment: Mapping[str, Any]) -> list[LibvirtObject]:
    """Return the libvirt objects that were being created or deleted, in the order in which they can be deleted.

    An object that is also a resource of the state counts only if it was being deleted, because an engine reports an
    interrupted creation forever, even after a later run has finished it.

    Args:
        deployment: The stack, as `pulumi stack export` prints it.
    """
    resources = deployment.get("resources") or []
    uris = objects.provider_uris(resources)
    recorded = {objects.identify(each, uris) for each in resources}
    found: set[LibvirtObject] = set()
    for operation in deployment.get("pending_operations") or []:
        subject = objects.identify(operation["resource"], uris)
        if subject is None:
            continue
        if operation["type"] == "deleting" or (operation["type"] == "creating" and subject not in recorded):
            found.add(subject)
    return sorted(found, key=objects.order)


def interrupted(deployment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return node and service of every command on a node that was being updated or deleted.

    Args:
        deployment: The stack, as `pulumi stack export` prints it.
    """
    resources = deployment.get("resources") or []
    nodes = [resource_name(each["urn"]) for each in resources if each["type"] == _MACHINE]
    found = set()
    for operation in deployment.get("pending_operations") or []:
        if operation["type"] not in ("updating", "deleting") or operation["resource"]["type"] not in _COMMANDS:
            continue
        name = resource_name(operation["resource"]["urn"])
        # The longest match, because the name of one node can be the start of another's.
        node = max((node for node in nodes if name.startswith(f"{node}-")), key=len, default="")
        if node:
            found.add((node, name.removeprefix(f"{node}-")))
    return sorted(found)


def _orphans(backend: str) -> list[Process]:
    """Return the running processes that a dead engine started with this backend.

    They are recognized by the environment that they inherited, never by name or parent: others can have the same.
    """
    ancestors = processes.ancestors()
    found = []
    for pid in processes.every():
        process = Process.of(pid)
        if process is None or pid in ancestors:
            continue
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is another user's
        variables = dict(os.fsdecode(entry).partition("=")[::2] for entry in entries)
        engine = Process.parse(variables.get(ENGINE_VARIABLE, ""))
        if engine is not None and not engine.alive() and variables.get(_BACKEND_VARIABLE) == backend:
            found.append(process)
    return found


def _stacks(state: Path) -> dict[str, bool]:
    """Return the stacks by name, with True if they have a state. An interrupted creation can leave only a lock."""
    names = {folder.name: False for folder in (state / ".pulumi/locks/organization" / PROJECT).glob("*")}
    files = (state / ".pulumi/stacks" / PROJECT).glob("*")
    return names | {file.name.partition(".json")[0]: True for file in files if file.name.endswith(_STATE_FILES)}


def _repair_backend(state: Path) -> None:
    """Remove torn attributes of the file that all stacks share. An engine that is writing them works without."""
    attributes = state / ".pulumi/meta.yaml.attrs"
    if attributes.exists() and attributes.stat().st_size == 0:
        attributes.unlink()


def _repair_stack(state: Path, stack: str) -> None:
    """Remove torn attributes of the stack's files: state, history and backups."""
    for attributes in (state / ".pulumi").rglob("*.attrs"):
        is_of_stack = attributes.parent.name == stack or attributes.name.startswith(f"{stack}.json")
        if PROJECT in attributes.parts and is_of_stack and attributes.stat().st_size == 0:
            attributes.unlink()


def _undo(checkout: Path, pulumi: Path, stack: str) -> Mapping[str, Any]:
    """Delete what a killed engine left outside of the state of a stack, and return that state."""
    deployment = _export(checkout, pulumi, stack)
    for found in unfinished(deployment):
        _report(found.delete())
    record_drift(stack, {pair: [INTERRUPTED] for pair in interrupted(deployment)}, datetime.now(UTC))
    return deployment


def _export(checkout: Path, pulumi: Path, stack: str) -> Mapping[str, Any]:
    document = json.loads(_run(checkout, pulumi, "stack", "export", "--stack", stack))
    deployment: Mapping[str, Any] = document.get("deployment") or {}
    return deployment


def _clear_pending(checkout: Path, pulumi: Path, stack: str, deployment: Mapping[str, Any]) -> None:
    """Make the engine drop the pending operations, and the resources whose deletion was finished here.

    It would otherwise report the pending creations at every run, and keep a deleted resource in the state.
    """
    if not (pending := deployment.get("pending_operations")):
        return
    known = {each["urn"]: each["type"] for each in deployment.get("resources") or []}
    deleted = {
        operation["resource"]["urn"]
        for operation in pending
        if operation["type"] == "deleting" and operation["resource"]["type"] in objects.KINDS
    }
    # With the stack itself as a target, the engine does not refresh everything else.
    targets = [urn for urn, type_ in known.items() if urn in deleted or type_ == "pulumi:pulumi:Stack"]
    _run(
        checkout,
        pulumi,
        *("refresh", "--stack", stack, "--yes", "--skip-preview", "--non-interactive", "--clear-pending-creates"),
        *(f"--target={urn}" for urn in targets),
    )
    _report(f"stack {stack}: {len(pending)} interrupted operation(s) cleared from the state")


def _run(checkout: Path, pulumi: Path, *arguments: str) -> str:
    return run(
        [pulumi, *arguments], why="recovering from an earlier run that was killed", folder=checkout, error=HostError
    )


def _report(result: str) -> None:
    console.warn(f"An earlier run was killed: {result}.")
