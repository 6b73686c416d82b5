"""A fork: a second lab that continues where a snapshot was taken, with its own checkout and private libvirt.

The addresses and names of nodes are in certificates, kubeconfigs, routes and etcd. So a fork keeps them all, and never
meets the original, because each private libvirt has its own network namespace. VMs, network and pool have the same
UUIDs and paths there, so the state of the stack is true in both checkouts.

A fork is first created as a stopped lab, which then starts as any other.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host import environment, prepare
from host.engine import drift, history, snapshots, stack_file, stopped
from host.engine.snapshots import LabSnapshot
from host.engine.stack import Stack
from host.engine.suspension import GIB, LabVms, check_space, exclusive, libvirt_folder
from host.libvirt.definitions import Definitions
from host.libvirt.private import OWNER, URI
from host.machine import tsc
from host.workspace import Workspace, command_line
from system import console, processes
from system.commands import as_root, attempt, run, run_visibly
from system.errors import HostError
from system.files import write_atomically
from system.netns import is_inside
from system.processes import Process

_UNFINISHED = "unfinished-fork"
"""File of .lab with the process that creates the fork. It exists until the fork is a stopped lab."""
_OWN = (".lab", ".git")
"""Entries of a checkout that a fork does not get: it has its own lab, and no branch."""
_PREPARED = 2 * GIB
"""Bytes for the programs of a prepared checkout, and for the base image if it cannot be shared."""
_POOL = "libvirt:index/pool:Pool"
_VOLUMES = ("libvirt:index/volume:Volume", "libvirt:index/cloudInitDisk:CloudInitDisk")
_CONTROL_PLANE = "hardway:node:ControlPlane"
_MEMORY_INFO = Path("/proc/meminfo")


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The lab of a snapshot.

    Attributes:
        workspace: The checkout.
        stack: Short name of the stack.
        snapshot: The snapshot.
        deployment: The state of the stack in the snapshot.
    """

    workspace: Workspace
    stack: str
    snapshot: LabSnapshot
    deployment: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The folder of the snapshot."""
        return self.workspace.snapshots(self.stack) / self.snapshot.name

    @property
    def vms(self) -> LabVms:
        """The VMs of the snapshot."""
        return LabVms.of_deployment(self.workspace, self.stack, self.deployment)

    @property
    def pools(self) -> list[str]:
        """The names of the storage pools."""
        return [each["inputs"]["name"] for each in self._resources(_POOL)]

    @property
    def volumes(self) -> list[str]:
        """The files of all volumes, as libvirt sees them."""
        # The ID of a volume for cloud-init has a UUID behind its path.
        return [each["id"].partition(";")[0] for each in self._resources(*_VOLUMES)]

    @property
    def salt(self) -> str:
        """The salt that secrets in the state are encrypted with. Empty if no passphrase encrypts them."""
        return str(self.deployment.get("secrets_providers", {}).get("state", {}).get("salt", ""))

    @property
    def has_control_plane(self) -> bool:
        """True if the lab is a cluster. False if it joins one."""
        return bool(self._resources(_CONTROL_PLANE))

    def _resources(self, *types: str) -> list[Mapping[str, Any]]:
        return [each for each in self.deployment["resources"] if each["type"] in types]


def create(workspace: Workspace, stack: str, name: str, folder: Path | None = None) -> None:
    """Create a fork of a snapshot, start it, and wait until its nodes are back. The original is not changed.

    Args:
        workspace: The checkout of the original.
        stack: The stack.
        name: The snapshot.
        folder: Folder of the fork. Default: beside the checkout, with the name of the snapshot appended.

    Raises:
        HostError: The lab or the machine allows no fork, or a step fails. The folder does not exist then, unless the
            fork is complete and only does not run.
    """
    _refuse_shared_place(workspace, stack)
    snapshot = snapshots.find(workspace, stack, name)
    state = json.loads((workspace.snapshots(stack) / name / snapshots.STATE).read_text())
    source = _Source(workspace=workspace, stack=stack, snapshot=snapshot, deployment=state["deployment"])
    place = folder or workspace.checkout.with_name(f"{workspace.checkout.name}-{name}")
    fork = Workspace(place.absolute().parent.resolve() / place.name)
    _check_place(workspace, fork)
    _check_lab(source)
    _check_machine(source, fork)
    fork.checkout.mkdir()
    try:
        _create(source, fork)
    except BaseException:
        console.warn(f"The fork is not complete, so {fork.checkout} is deleted.")
        _delete(fork)
        raise
    in_fork = f"cd {fork.checkout} && {command_line('start', stack)}"
    run_visibly(
        [fork.bin / "hardway", "start", "--stack", stack],
        failure=f"The fork in {fork.checkout} is complete, but does not run; see above. Try again: {in_fork}",
        folder=fork.checkout,
    )
    if console.verbosity() is not console.Verbosity.QUIET:
        print(
            f"The fork has the names and addresses of the original, in its own network. Use it:\n"
            f"  cd {fork.checkout} && . ./.lab/env\nDelete it there with `hardway destroy` and `hardway clean`, then "
            "delete the folder.",
            flush=True,
        )


def _refuse_shared_place(workspace: Workspace, stack: str) -> None:
    """Refuse a lab whose network or state a fork would share.

    Raises:
        HostError: It would.
    """
    if is_inside():
        raise HostError("This shell is inside a lab's network, where no other lab can start. Leave it and try again.")
    if not workspace.hypervisor.exists():
        raise HostError(
            f"Stack {stack} cannot be forked: its VMs are in the system's libvirtd or on another machine. A second lab "
            "with the same addresses would meet them there. Only a lab in a private libvirt can be forked, which "
            "Hardway starts where the system's libvirtd does not run. Nothing was changed."
        )
    if not environment.keeps_state(workspace):
        raise HostError(
            f"Stack {stack} cannot be forked: your Pulumi settings keep the state elsewhere, where the fork would be "
            "the same stack. Use the state of the checkout: unset PULUMI_BACKEND_URL and PULUMI_ACCESS_TOKEN, and run "
            "`pulumi logout`. Nothing was changed."
        )


def _check_place(workspace: Workspace, fork: Workspace) -> None:
    """Refuse a folder for the fork that cannot be created. Delete what a killed command left there.

    Raises:
        HostError: It exists, or is inside the checkout, or has no parent.
    """
    creator = processes.read(fork.lab / _UNFINISHED) if fork.lab.is_dir() else None
    if creator is not None and not creator.alive():
        console.note(f"deleting {fork.checkout}, which an interrupted `hardway fork` left")
        _delete(fork)
    if fork.checkout.exists():
        raise HostError(
            f"{fork.checkout} exists. Choose another folder for the fork: `hardway fork NAME DIR`. Or delete it, after "
            "`hardway destroy` and `hardway clean` there if it has a lab."
        )
    if fork.checkout.is_relative_to(workspace.checkout):
        raise HostError(f"{fork.checkout} is inside this checkout. Choose a folder outside of it for the fork.")
    if not fork.checkout.parent.is_dir():
        raise HostError(f"{fork.checkout.parent} is no folder, so the fork cannot be created in it. Create it first.")


def _check_lab(source: _Source) -> None:
    """Refuse a lab that joins another cluster, and VMs in another libvirt daemon or that do not exist any more.

    The definitions of the VMs, and the base image of their disks, are those of the lab.

    Raises:
        HostError: It does, or they are.
    """
    if not source.has_control_plane:
        raise HostError(
            f"Stack {source.stack} cannot be forked: it joins another cluster, where the nodes of the fork would have "
            "the same names. Nothing was changed."
        )
    daemons = source.vms.daemons
    if uris := sorted({vms.uri for vms in daemons} - {URI}):
        raise HostError(
            f"Stack {source.stack} cannot be forked: it has VMs in {' and '.join(uris)}. All must be in {URI}. Nothing "
            "was changed."
        )
    uuids = {vm: uuid for vms in daemons for vm, uuid in vms.uuids().items()}
    snapshots.refuse_lost_vms(source.stack, source.snapshot, uuids)


def _check_machine(source: _Source, fork: Workspace) -> None:
    """Refuse a fork for which this machine has too little memory or disk.

    Raises:
        HostError: There is too little.
    """
    needed = sum(vms.memory() for vms in source.vms.daemons)
    if needed > (free := _available_memory()):
        raise HostError(
            f"This machine has {free / GIB:.1f} GiB of memory left, and the VMs of the fork may need "
            f"{needed / GIB:.1f} GiB. Stop a lab first, for example this one: {command_line('stop', source.stack)}"
        )
    check_space(fork.checkout.parent, source.snapshot.size + _PREPARED, f"a fork of snapshot {source.snapshot.name}")


def _available_memory() -> int:
    """Return the bytes of memory that new programs can use without swapping (MemAvailable, proc(5))."""
    lines = (line.split() for line in _MEMORY_INFO.read_text().splitlines() if line.startswith("MemAvailable:"))
    return sum(int(words[1]) * 1024 for words in lines)


def _create(source: _Source, fork: Workspace) -> None:
    """Create the fork as a stopped lab."""
    fork.lab.mkdir()
    write_atomically(fork.lab / _UNFINISHED, str(Process.of(os.getpid())))
    with console.step("Checkout of the fork"):
        _copy_checkout(source, fork)
    run_visibly(
        [sys.executable, "-P", "-m", "hardway", "prepare", "--stack", source.stack],
        failure=f"{fork.checkout} could not be prepared; see above for the reason.",
        folder=fork.checkout,
        environment={"PYTHONPATH": str(fork.checkout)},
    )
    if not environment.keeps_state(fork):
        raise HostError("Your Pulumi settings keep the state of the fork elsewhere: unset PULUMI_BACKEND_URL.")
    with console.step("State of the stack"):
        _copy_state(source, fork)
    with exclusive(source.workspace, source.stack), console.step("VMs of the fork"):
        definitions = Definitions.read(source.workspace.bin / "virsh", source.pools, source.snapshot.vms)
        _copy_vms(source, fork, definitions.bridges)
        definitions.create(fork.bin / "virsh")
    stopped.write(fork, source.stack)
    (fork.lab / _UNFINISHED).unlink()


def _copy_checkout(source: _Source, fork: Workspace) -> None:
    """Copy the program as it is now, with the stack file of the snapshot, and what must be there before `prepare`."""
    workspace, stack = source.workspace, source.stack
    entries = [entry for entry in workspace.checkout.iterdir() if entry.name not in _OWN]
    run(
        ["cp", "--archive", "--reflink=auto", *entries, fork.checkout],
        why=f"copying {workspace.checkout}",
        error=HostError,
    )
    snapshots.keep(source.folder / snapshots.CONFIGURATION, fork.stack_file(stack))
    text = fork.stack_file(stack).read_text(encoding="utf-8") if fork.stack_file(stack).exists() else ""
    if source.salt and not stack_file.salt_of(text):
        write_atomically(fork.stack_file(stack), stack_file.with_salt(text, source.salt))
    if workspace.passphrase.exists():
        write_atomically(fork.passphrase, workspace.passphrase.read_bytes(), 0o600)
    # The command lines of emulated VMs have this number.
    snapshots.keep(workspace.lab / tsc.RECORD.name, fork.lab / tsc.RECORD.name)
    # With this folder, a checkout uses a private libvirt. A fork of a lab that ends with a process ends with it, too.
    fork.hypervisor.mkdir()
    snapshots.keep(workspace.hypervisor / OWNER, fork.hypervisor / OWNER)


def _copy_state(source: _Source, fork: Workspace) -> None:
    """Give the fork the state of the stack in the snapshot, and the records that belong to it."""
    stack = Stack(fork, source.stack)
    stack.select()
    stack.import_state(source.folder / snapshots.STATE)
    history.copy(source.workspace.state, fork.state, source.stack, source.snapshot.update)
    fork.access(source.stack).mkdir(parents=True, exist_ok=True)
    snapshots.keep(source.folder / snapshots.DRIFT, fork.access(source.stack) / drift.record_path(source.stack).name)


def _copy_vms(source: _Source, fork: Workspace, bridges: Sequence[str]) -> None:
    """Copy the disks of the snapshot, and share what is only read: its memory, and the base image of the lab."""
    workspace, vms = source.workspace, source.snapshot.vms
    disks = {
        disk: snapshots.disk_of(source.folder, vm, number)
        for vm, saved in vms.items()
        for number, disk in enumerate(saved.disks)
    }
    read_only = {
        snapshots.on_machine(fork, volume): snapshots.on_machine(workspace, volume)
        for volume in source.volumes
        if volume not in disks
    } | {snapshots.saved_memory(fork, vm): snapshots.memory_of(source.folder, vm) for vm in vms}
    written = {snapshots.on_machine(fork, disk): file for disk, file in disks.items()}
    folders = sorted({target.parent for target in (*read_only, *written)})
    run([*_root(), "mkdir", "--parents", *folders], why="creating the folders of the fork", error=HostError)
    for target, file in read_only.items():
        snapshots.link(file, target)
    with console.progress("copying disks", len(written)) as progress:
        for target, file in written.items():
            snapshots.copy(file, target)
            progress.advance()
    for bridge in bridges:
        # The leases, so that the network knows the names of the VMs. There is no such file before the first lease.
        leases = Path("dnsmasq") / f"{bridge}.status"
        attempt([*_root(), "cp", *(libvirt_folder(place) / leases for place in (workspace, fork))])


def _delete(fork: Workspace) -> None:
    """End the processes of a fork that is not complete, and delete its folder."""
    if fork.hypervisor.exists():
        prepare.hypervisor("purge", fork.hypervisor)
    run([*_root(), "rm", "-r", fork.checkout], why=f"deleting {fork.checkout}", error=HostError)


def _root() -> list[str]:
    return as_root(may_ask=True)
