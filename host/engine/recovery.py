"""What an engine that was killed leaves behind, and what makes the next run fail: taken away before that run.

An engine that ends in its own way, a cancelled one too, leaves none of this. One that is killed leaves

- its lock: every later run refuses to start;
- its plugins: they notice minutes later that nobody asks them any more, and finish what they were doing until then;
- what they were making or taking away: it stands in the state as a pending operation and not as a resource, so the
  next run finds names of libvirt taken, or objects gone that the state has.
- a change of a service half done: the state still has the old one, so a configuration put back to that would show no
  change, whatever the node runs. The next run is told to set it right.
- a torn file: the state itself is written as a draft and renamed, so it is whole, but the library beneath writes the
  file's attributes into `NAME.attrs` in place. Where that is empty every command fails ("failed to load checkpoint:
  EOF"); where there is none all is well (gocloud.dev/blob/fileblob, getAttrs).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host.engine import locks
from host.engine.drift import record_repairs
from host.libvirt import objects
from host.libvirt.objects import LibvirtObject
from system import processes
from system.errors import HostError
from system.processes import Process

# The name in Pulumi.yaml.
PROJECT = "hardway"
# Set by engine.sh: the engine that a process belongs to, inherited by all that it starts.
ENGINE_VARIABLE = "HARDWAY_ENGINE"
INTERRUPTED = "an interrupted change"
_MACHINE, _COMMAND = "hardway:machine:Machine", "command:remote:Command"
_STATE_FILES = (".json", ".json.gz", ".json.zst")
_BACKEND_VARIABLE = "PULUMI_BACKEND_URL"


def settle(checkout: Path, state: Path, pulumi: Path, *, state_only: bool = False) -> None:
    """Takes away what killed engines have left of the project's stacks in the file backend `state`; says what that was.

    A stack that an engine works on at this moment is left alone. To be run where libvirt can be reached and with the
    environment of `.lab/env`.

    checkout:   where Pulumi.yaml is.
    pulumi:     the engine.
    state_only: whether just the state's own files are to be made readable, for a command that changes nothing.

    Raises HostError where something could not be taken away. It can be run again after any interruption.
    """
    with _one_at_a_time(state):
        if not state_only:
            processes.end(_orphans(state.as_uri()))
        _mend_backend(state)
        for stack, has_state in sorted(_stacks(state).items()):
            with locks.held(state, PROJECT, stack) as held:
                if not held:
                    continue
                _mend(state, stack)
                if state_only or not has_state:
                    continue
                deployment = _exported(checkout, pulumi, stack)
                pending = deployment.get("pending_operations") or []
                for found in unfinished(deployment):
                    _say(found.take_away())
                record_repairs(stack, {pair: [INTERRUPTED] for pair in half_done(deployment)}, datetime.now(UTC))
            if pending:
                _forget(checkout, pulumi, stack, deployment)
                _say(f"stack {stack}: {len(pending)} interrupted operation(s) cleared from the state")


def unfinished(deployment: Mapping[str, Any]) -> list[LibvirtObject]:
    """The libvirt objects that were being made or taken away, in the order in which they can be taken away.

    An object that the state has as a resource under the same name is none of them, unless it was being taken away: an
    engine keeps reporting an interrupted creation for good, also after a later run has finished it.

    deployment: the stack, as `pulumi stack export` prints it.
    """
    resources = deployment.get("resources") or []
    uris = {f"{each['urn']}::{each.get('id')}": each.get("inputs", {}).get("uri") for each in resources}
    recorded = {objects.identify(each, uris) for each in resources}
    found: set[LibvirtObject] = set()
    for operation in deployment.get("pending_operations") or []:
        subject = objects.identify(operation["resource"], uris)
        if subject is None:
            continue
        if operation["type"] == "deleting" or (operation["type"] == "creating" and subject not in recorded):
            found.add(subject)
    return sorted(found, key=objects.order)


def half_done(deployment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Node and service of every command on a node that was being changed or undone.

    deployment: the stack, as `pulumi stack export` prints it.
    """
    resources = deployment.get("resources") or []
    nodes = [_name(each) for each in resources if each["type"] == _MACHINE]
    found = set()
    for operation in deployment.get("pending_operations") or []:
        if operation["type"] not in ("updating", "deleting") or operation["resource"]["type"] != _COMMAND:
            continue
        name = _name(operation["resource"])
        # The longest, for a node's name may begin with another's.
        node = max((node for node in nodes if name.startswith(f"{node}-")), key=len, default="")
        if node:
            found.add((node, name.removeprefix(f"{node}-")))
    return sorted(found)


def _name(resource: Mapping[str, Any]) -> str:
    return str(resource["urn"]).rpartition("::")[2]


def _orphans(backend: str) -> list[Process]:
    """What an engine that runs no more has started with this backend, and still runs.

    Told by the environment that each inherited, never by name or parent: both can be anybody's.
    """
    mine = processes.ancestors()
    found = []
    for pid in processes.every():
        process = Process.of(pid)
        if process is None or pid in mine:
            continue
        try:
            entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile, or another user's
        variables = dict(os.fsdecode(entry).partition("=")[::2] for entry in entries)
        engine = Process.parse(variables.get(ENGINE_VARIABLE, ""))
        if engine is not None and not engine.alive() and variables.get(_BACKEND_VARIABLE) == backend:
            found.append(process)
    return found


def _stacks(state: Path) -> dict[str, bool]:
    """The stacks by name, and whether each has a state: one whose making was cut short may have no more than a lock."""
    locked = {folder.name: False for folder in (state / ".pulumi/locks/organization" / PROJECT).glob("*")}
    files = (state / ".pulumi/stacks" / PROJECT).glob("*")
    return locked | {file.name.partition(".json")[0]: True for file in files if file.name.endswith(_STATE_FILES)}


def _mend_backend(state: Path) -> None:
    """Removes the torn attributes of what all stacks share. An engine that is writing them can do without."""
    attributes = state / ".pulumi/meta.yaml.attrs"
    if attributes.exists() and attributes.stat().st_size == 0:
        attributes.unlink()


def _mend(state: Path, stack: str) -> None:
    """Removes the torn attributes of the stack's files: of its state, history and backups."""
    for attributes in (state / ".pulumi").rglob("*.attrs"):
        of_the_stack = attributes.parent.name == stack or attributes.name.startswith(f"{stack}.json")
        if PROJECT in attributes.parts and of_the_stack and attributes.stat().st_size == 0:
            attributes.unlink()


def _exported(checkout: Path, pulumi: Path, stack: str) -> Mapping[str, Any]:
    document = json.loads(_run(checkout, pulumi, "stack", "export", "--stack", stack))
    deployment: Mapping[str, Any] = document.get("deployment") or {}
    return deployment


def _forget(checkout: Path, pulumi: Path, stack: str, deployment: Mapping[str, Any]) -> None:
    """Has the engine drop the pending operations, and the resources whose deletion has been finished here.

    It would report the pending creations at every run for good, and take a deleted resource for one that is there.
    """
    known = {each["urn"]: each["type"] for each in deployment.get("resources") or []}
    deleted = {
        operation["resource"]["urn"]
        for operation in deployment["pending_operations"]
        if operation["type"] == "deleting" and operation["resource"]["type"] in objects.KINDS
    }
    # The stack itself as a target keeps the engine from asking for everything: there is nothing to ask about it.
    targets = [urn for urn, type_ in known.items() if urn in deleted or type_ == "pulumi:pulumi:Stack"]
    _run(
        checkout,
        pulumi,
        *("refresh", "--stack", stack, "--yes", "--skip-preview", "--non-interactive", "--clear-pending-creates"),
        *(f"--target={urn}" for urn in targets),
    )


def _run(checkout: Path, pulumi: Path, *arguments: str) -> str:
    result = subprocess.run(
        [pulumi, *arguments], cwd=checkout, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        said = f"{result.stdout}{result.stderr}".strip()
        raise HostError(f"An earlier run was killed, and `pulumi {arguments[0]}` could not settle it:\n{said}")
    return result.stdout


def _say(what: str) -> None:
    print(f"An earlier run was killed: {what}.", flush=True)


@contextlib.contextmanager
def _one_at_a_time(state: Path) -> Iterator[None]:
    with (state / ".settling").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
