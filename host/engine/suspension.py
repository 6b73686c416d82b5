"""Stop a lab with the memory of its VMs, and start it where it was."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from host.engine import locks, stopped
from host.engine.stack import MACHINE, Stack, deployment_of, refuse_locked
from host.engine.urns import resource_name
from host.libvirt.placement import is_elsewhere
from host.libvirt.private import URI
from host.libvirt.vms import PAUSED, RUNNING, SAVED, Vms
from host.workspace import PROJECT, Workspace, command_line
from system import console
from system.errors import HostError

LIBVIRT_FOLDER = Path("/var/lib/libvirt")
_DOMAIN = "libvirt:index/domain:Domain"
GIB = 1024**3

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class LabVms:
    """The VMs of a deployed stack.

    Attributes:
        stack: Short name of the stack.
        daemons: The VMs by libvirt daemon.
        machines: Names of the nodes that are existing machines.
    """

    stack: str
    daemons: Sequence[Vms]
    machines: Sequence[str]

    @classmethod
    def of(cls, workspace: Workspace, stack: str) -> LabVms:
        """Return the VMs of a stack.

        Raises:
            HostError: The stack has none.
        """
        return cls.of_deployment(workspace, stack, deployment_of(workspace, stack))

    @classmethod
    def of_deployment(cls, workspace: Workspace, stack: str, deployment: Mapping[str, Any]) -> LabVms:
        """Return the VMs of a deployment of a stack, such as that of a snapshot.

        Raises:
            HostError: The deployment has none.
        """
        resources: Sequence[Mapping[str, Any]] = deployment.get("resources") or []
        providers = {f"{each['urn']}::{each.get('id')}": each.get("inputs", {}).get("uri") for each in resources}
        domains = [each for each in resources if each["type"] == _DOMAIN]
        if not domains:
            raise HostError(f"Stack {stack} has no VMs. Bring it up: {command_line('up', stack)}")
        names: dict[str, list[str]] = {}
        for domain in domains:
            names.setdefault(providers.get(domain.get("provider", "")) or URI, []).append(domain["inputs"]["name"])
        virtual = {domain.get("parent") for domain in domains}
        machines = [each["urn"] for each in resources if each["type"] == MACHINE and each["urn"] not in virtual]
        return cls(
            stack=stack,
            daemons=[
                Vms(uri=uri, names=sorted(each), program=workspace.bin / "virsh") for uri, each in sorted(names.items())
            ],
            machines=sorted(resource_name(urn) for urn in machines),
        )

    def states(self) -> dict[str, str]:
        """Return the state of every VM.

        Raises:
            HostError: A VM does not exist, or libvirt does not answer.
        """
        answers, errors = self._of_each(Vms.states)
        if errors:
            raise HostError("\n".join(map(str, errors.values())))
        found = {name: state for states in answers for name, state in states.items()}
        if missing := [name for vms in self.daemons for name in vms.names if name not in found]:
            raise HostError(
                f"VM {' and '.join(missing)} does not exist. `pulumi refresh`, then {command_line('up', self.stack)} "
                "recreates it."
            )
        return found

    def on_each(self, *actions: Callable[[Vms], None]) -> None:
        """Do something on all daemons at the same time. Each action begins when all have ended the one before.

        Raises:
            HostError: It fails on some daemons. The others have done it.
        """
        errors: dict[str, HostError] = {}
        for action in actions:
            errors = self._of_each(action)[1] | errors
        if errors:
            raise HostError("\n".join(map(str, errors.values())))

    def _of_each(self, read: Callable[[Vms], Answer]) -> tuple[list[Answer], dict[str, HostError]]:
        """Return the answers of the daemons, and the errors by URI."""
        answers: list[Answer] = []
        errors: dict[str, HostError] = {}
        with ThreadPoolExecutor(max_workers=len(self.daemons)) as pool:
            for vms, answer in [(vms, pool.submit(read, vms)) for vms in self.daemons]:
                try:
                    answers.append(answer.result())
                except HostError as error:
                    errors[vms.uri] = error
        return answers, errors

    def running(self) -> list[str]:
        """Return the VMs with memory that is not saved.

        Raises:
            HostError: A VM does not exist, or libvirt does not answer.
        """
        return [name for name, state in self.states().items() if state in (RUNNING, PAUSED)]

    def refuse_machines(self) -> None:
        """Refuse a lab that has other machines than VMs.

        Raises:
            HostError: It has.
        """
        if self.machines:
            raise HostError(
                f"Stack {self.stack} cannot be stopped: {' and '.join(self.machines)} is an existing machine and no "
                "VM of the lab, so its memory cannot be saved. Nothing was changed."
            )


@contextlib.contextmanager
def exclusive(workspace: Workspace, stack: str) -> Iterator[None]:
    """Keep engines off a stack while the block runs: all of them, or only those of this checkout for another backend.

    Raises:
        HostError: An engine works on the stack now.
    """
    # In another backend, only an engine can hold the lock.
    refuse_locked(workspace, stack)
    with locks.held(workspace.state, PROJECT, stack) as is_held:
        if not is_held:
            raise HostError(f"Another command is changing stack {stack}. Wait until it has ended. Nothing was changed.")
        yield


def stop(workspace: Workspace, name: str) -> None:
    """Save the memory of all VMs of a stack, and shut them off.

    Raises:
        HostError: The lab cannot be kept. It runs as before then.
    """
    lab = LabVms.of(workspace, name)
    lab.refuse_machines()
    stopped.refuse_partial_revert(workspace, name)
    with exclusive(workspace, name):
        if not lab.running():
            if stopped.read(workspace, name) is None and SAVED in lab.states().values():
                stopped.write(workspace, name)
            console.note(f"No VM of stack {name} runs. Start it: {command_line('start', name)}")
            return
        check_memory_fits(workspace, lab)
        with console.step("Memory of the VMs"):
            save(workspace, name, lab)
    if console.verbosity() is not console.Verbosity.QUIET:
        print(f"Stack {name} is stopped. Start it: {command_line('start', name)}", flush=True)


def save(workspace: Workspace, name: str, lab: LabVms) -> None:
    """Save and shut off the VMs, all or none.

    Raises:
        HostError: The memory of a VM cannot be saved. All VMs continue.
    """
    stopped.write(workspace, name)
    try:
        lab.on_each(Vms.save)
    except BaseException as error:
        console.warn("The VMs cannot be stopped, so all continue.")
        wake(workspace, name, lab)
        if isinstance(error, HostError):
            raise HostError(f"{error}\nStack {name} runs as before.") from None
        raise


def wake(workspace: Workspace, name: str, lab: LabVms) -> None:
    """Let all VMs run, saved ones from where they were.

    Raises:
        HostError: A VM does not start. The others run.
    """
    try:
        lab.on_each(Vms.load, Vms.resume)
    except HostError as error:
        raise HostError(f"{error}\nAll other VMs run. Start these, too: {command_line('start', name)}") from None
    stopped.remove(workspace, name)


def start(workspace: Workspace, name: str) -> None:
    """Start the VMs of a stopped stack, and wait until its nodes are back.

    Raises:
        HostError: A VM does not start, or a node is not back in time.
    """
    start_vms(workspace, name)
    wait_until_back(workspace, name, time.time())


def start_vms(workspace: Workspace, name: str) -> None:
    """Start the VMs of a stopped stack.

    Raises:
        HostError: A VM does not start.
    """
    lab = LabVms.of(workspace, name)
    stopped.refuse_partial_revert(workspace, name)
    with exclusive(workspace, name), console.step("Memory of the VMs"):
        wake(workspace, name, lab)


def wait_until_back(workspace: Workspace, name: str, since: float) -> None:
    """Wait until the nodes of a stack are back, and complete the network of this machine.

    Args:
        workspace: The checkout.
        name: The stack.
        since: Time when the VMs continued, in seconds since the epoch.

    Raises:
        HostError: Something is missing after the time limit.
    """
    stack = Stack(workspace, name)
    with console.step("Clocks and nodes"):
        stack.wait_until_awake(since)
    stack.restore_machine_network()
    if console.verbosity() is not console.Verbosity.QUIET:
        print(f"Stack {name} runs.", flush=True)


def check_memory_fits(workspace: Workspace, lab: LabVms) -> None:
    """Refuse to save memory for which libvirt's disk on this machine has too little space.

    Raises:
        HostError: There is too little.
    """
    here = [vms for vms in lab.daemons if not is_elsewhere(vms.uri)]
    if here:
        check_space(libvirt_folder(workspace), sum(vms.memory() for vms in here), "the memory of the VMs")


def check_space(folder: Path, needed: int, content: str) -> None:
    """Refuse to write more than a disk has space for.

    Args:
        folder: A folder on the disk.
        needed: Bytes.
        content: The content, for the error.

    Raises:
        HostError: There is too little.
    """
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise HostError(
            f"{folder} has {free / GIB:.1f} GiB left, and {content} may need {needed / GIB:.1f} GiB. Free some space "
            "there. Nothing was changed."
        )


def libvirt_folder(workspace: Workspace) -> Path:
    """Return libvirt's folder, as this machine sees it."""
    return workspace.hypervisor / "lib" if workspace.hypervisor.exists() else LIBVIRT_FOLDER
