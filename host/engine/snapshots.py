"""Snapshots of a whole lab: disks and memory of all VMs at one moment, and the state of the stack.

The memory is that of a stopped lab (the managed save of libvirt), and the disks are copied while no VM runs. Snapshots
inside the disks would need only a pause. But QEMU makes them only if every writable disk is qcow2, and the volume for
cloud-init is not. External ones would give the VMs other disks than the state of the stack has.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from host.engine import history, stopped
from host.engine.drift import record_path
from host.engine.stack import Stack
from host.engine.suspension import (
    LIBVIRT_FOLDER,
    LabVms,
    check_memory_fits,
    check_space,
    exclusive,
    libvirt_folder,
    save,
    wait_until_back,
    wake,
)
from host.libvirt.placement import is_elsewhere
from host.libvirt.vms import PAUSED, RUNNING, SAVED
from host.workspace import Workspace, command_line
from system import console
from system.commands import as_root, attempt, run
from system.errors import HostError
from system.files import write_atomically

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_DRAFT = ".draft"
_DESCRIPTION = "snapshot.json"
STATE, CONFIGURATION, DRIFT = "state.json", "stack.yaml", "repairs.json"
"""Files of a snapshot: the state of the stack, its stack file, and the record of the drift that `verify` had found."""
_VMS = "vms"
"""Folder with the memory and disks. Only root may read it, because they contain keys."""
_SALT = "encryptionsalt:"


@dataclass(frozen=True, kw_only=True)
class SavedVm:
    """A VM in a snapshot.

    Attributes:
        uuid: UUID. A recreated VM has another one.
        disks: Files of its disks, as libvirt sees them.
    """

    uuid: str
    disks: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class LabSnapshot:
    """A snapshot of a lab.

    Attributes:
        name: Name.
        time: Time of its moment, such as `2026-01-02T03:04:05Z`.
        size: Bytes that it takes on the disk.
        vms: The VMs by name.
        update: Name of the last successful update before: see `host.engine.history`. Empty if there was none.
    """

    name: str
    time: str
    size: int
    vms: Mapping[str, SavedVm]
    update: str = ""


def listed(workspace: Workspace, stack: str) -> list[LabSnapshot]:
    """Return the snapshots of a stack, the oldest first."""
    files = workspace.snapshots(stack).glob(f"[!.]*/{_DESCRIPTION}")
    return sorted((_read(file) for file in files), key=lambda snapshot: snapshot.time)


def take(workspace: Workspace, stack: str, name: str) -> None:
    """Take a snapshot of a lab. A lab that runs is stopped for it, and started again.

    Raises:
        HostError: There is such a snapshot, or the lab cannot be kept in one.
    """
    if _NAME.fullmatch(name) is None:
        raise HostError(
            f"{name!r} is no valid name of a snapshot. Allowed are 1 to 63 letters, digits, hyphens, underscores and "
            "periods, the first a letter or digit."
        )
    folder, draft = workspace.snapshots(stack) / name, workspace.snapshots(stack) / _DRAFT
    if folder.exists():
        raise HostError(
            f"Snapshot {name} of stack {stack} exists. Choose another name, or delete it: "
            f"{command_line(f'snapshot {name} --delete', stack)}"
        )
    lab = LabVms.of(workspace, stack)
    lab.refuse_machines()
    stopped.refuse_partial_revert(workspace, stack)
    if elsewhere := [vms.uri for vms in lab.daemons if is_elsewhere(vms.uri)]:
        raise HostError(
            f"Stack {stack} has VMs on another machine ({', '.join(elsewhere)}), whose disks cannot be copied from "
            "here. `hardway stop` and `hardway start` work."
        )
    with exclusive(workspace, stack):
        runs = bool(lab.running())
        if off := [vm for vm, state in lab.states().items() if state not in (RUNNING, PAUSED, SAVED)]:
            raise HostError(f"VM {' and '.join(off)} does not run. Start it first: {command_line('up', stack)}")
        disks = {vm: vms.disks(vm) for vms in lab.daemons for vm in vms.names}
        if others := [vm for vm, files in disks.items() if not files]:
            raise HostError(f"The disks of VM {' and '.join(others)} are no files, so they cannot be copied.")
        uuids = {vm: uuid for vms in lab.daemons for vm, uuid in vms.uuids().items()}
        workspace.snapshots(stack).mkdir(parents=True, exist_ok=True)
        _check_space(workspace, stack, lab, disks)
        if runs:
            check_memory_fits(workspace, lab)
        _delete(draft)
        draft.mkdir()
        (draft / STATE).write_text(Stack(workspace, stack).export_state())
        keep(workspace.stack_file(stack), draft / CONFIGURATION)
        keep(record_path(stack), draft / DRIFT)
        update = history.last_successful(history.updates(workspace, stack))
        moment = datetime.now(UTC)
        if runs:
            with console.step("Memory of the VMs"):
                save(workspace, stack, lab)
        try:
            with console.step("Disks of the VMs"):
                _copy_out(workspace, draft, disks)
        except BaseException:
            _delete(draft)
            raise
        finally:
            if runs:
                wake(workspace, stack, lab)
        snapshot = LabSnapshot(
            name=name,
            time=f"{moment:%Y-%m-%dT%H:%M:%SZ}",
            size=_size([draft]),
            vms={vm: SavedVm(uuid=uuids[vm], disks=disks[vm]) for vm in disks},
            update=update.name if update else "",
        )
        (draft / _DESCRIPTION).write_text(json.dumps(asdict(snapshot), indent=2) + "\n")
        draft.rename(folder)
    if runs:
        wait_until_back(workspace, stack, time.time())


def revert(workspace: Workspace, stack: str, name: str) -> None:
    """Replace disks and memory of the VMs, and the state of the stack, by those of a snapshot. The lab runs then.

    Raises:
        HostError: There is no such snapshot, the lab has other VMs now, or a node is not back in time.
    """
    snapshot, folder = find(workspace, stack, name), workspace.snapshots(stack) / name
    lab = LabVms.of(workspace, stack)
    if lab.machines:
        raise HostError(
            f"Existing machine {' and '.join(lab.machines)} was added after snapshot {name}, and cannot return to it. "
            f"Remove the node from the configuration, run {command_line('up', stack)}, and try again. Nothing was "
            "changed."
        )
    _refuse_other_vms(stack, snapshot, lab)
    with exclusive(workspace, stack):
        stopped.write(workspace, stack, reverting=name)
        with console.step("Disks of the VMs"):
            for vms in lab.daemons:
                vms.discard()
            _copy_back(workspace, folder, snapshot)
    # The engine takes the lock of the stack itself. Nobody else continues before the revert has ended.
    with console.step("State of the stack"):
        Stack(workspace, stack).import_state(folder / STATE)
        keep(folder / DRIFT, record_path(stack))
        history.record_revert(workspace, stack, snapshot.update)
    with exclusive(workspace, stack), console.step("Memory of the VMs"):
        for vms in lab.daemons:
            vms.restore({vm: memory_of(folder, vm) for vm in vms.names})
        stopped.remove(workspace, stack)
    wait_until_back(workspace, stack, time.time())
    if _configuration(workspace.stack_file(stack)) != _configuration(folder / CONFIGURATION):
        console.warn(
            f"{workspace.stack_file(stack).name} has changed since the snapshot, and stays as it is. "
            f"{command_line('preview', stack)} shows what `hardway up` would change. The file of then: "
            f"{folder / CONFIGURATION}"
        )


def delete(workspace: Workspace, stack: str, name: str) -> None:
    """Delete a snapshot.

    Raises:
        HostError: There is no such snapshot, or a revert to it has not ended.
    """
    find(workspace, stack, name)
    with exclusive(workspace, stack):
        record = stopped.read(workspace, stack)
        if record is not None and record.reverting == name:
            raise HostError(f"Snapshot {name} is still needed. {record}")
        _delete(workspace.snapshots(stack) / name)


def delete_all(workspace: Workspace, stack: str) -> None:
    """Delete all snapshots of a stack, for example those of a lab that does not exist any more."""
    _delete(workspace.snapshots(stack))


def find(workspace: Workspace, stack: str, name: str) -> LabSnapshot:
    """Return a snapshot of a stack.

    Raises:
        HostError: There is no such snapshot.
    """
    existing = listed(workspace, stack)
    for snapshot in existing:
        if snapshot.name == name:
            return snapshot
    allowed = f"It has {', '.join(each.name for each in existing)}" if existing else "It has none"
    raise HostError(f"Stack {stack} has no snapshot {name}. {allowed}.")


def _read(file: Path) -> LabSnapshot:
    values = json.loads(file.read_text())
    return LabSnapshot(**{**values, "vms": {vm: SavedVm(**saved) for vm, saved in values["vms"].items()}})


def _refuse_other_vms(stack: str, snapshot: LabSnapshot, lab: LabVms) -> None:
    """Refuse to revert a lab whose VMs are not those of the snapshot.

    Raises:
        HostError: They are not.
    """
    uuids = {vm: uuid for vms in lab.daemons for vm, uuid in vms.uuids().items()}
    if added := sorted(uuids.keys() - snapshot.vms.keys()):
        raise HostError(
            f"VM {' and '.join(added)} was created after snapshot {snapshot.name}. Remove the node from the "
            f"configuration, run {command_line('up', stack)}, and try again. Nothing was changed."
        )
    refuse_lost_vms(stack, snapshot, uuids)


def refuse_lost_vms(stack: str, snapshot: LabSnapshot, uuids: Mapping[str, str]) -> None:
    """Refuse to use a snapshot with VMs that do not exist any more.

    Args:
        stack: The stack.
        snapshot: The snapshot.
        uuids: UUIDs of the VMs that the lab has now, by name.

    Raises:
        HostError: A VM was deleted or recreated.
    """
    if lost := sorted(vm for vm, saved in snapshot.vms.items() if uuids.get(vm) != saved.uuid):
        raise HostError(
            f"VM {' and '.join(lost)} was deleted or recreated after snapshot {snapshot.name}, so no lab can return to "
            "it. Nothing was changed. Delete the snapshot: "
            f"{command_line(f'snapshot {snapshot.name} --delete', stack)}"
        )


def _check_space(workspace: Workspace, stack: str, lab: LabVms, disks: Mapping[str, Sequence[str]]) -> None:
    memory = sum(vms.memory() for vms in lab.daemons)
    files = [on_machine(workspace, disk) for each in disks.values() for disk in each]
    check_space(workspace.snapshots(stack), memory + _size(files), "a snapshot of disks and memory")


def _copy_out(workspace: Workspace, folder: Path, disks: Mapping[str, Sequence[str]]) -> None:
    run([*_root(), "install", "-d", "-m", "0700", folder / _VMS], why="taking a snapshot", error=HostError)
    with console.progress("copying VMs", len(disks)) as progress:
        for vm, files in disks.items():
            # libvirt only reads the file, and then removes its own name of it.
            link(saved_memory(workspace, vm), memory_of(folder, vm))
            for number, disk in enumerate(files):
                copy(on_machine(workspace, disk), disk_of(folder, vm, number))
            progress.advance()


def _copy_back(workspace: Workspace, folder: Path, snapshot: LabSnapshot) -> None:
    with console.progress("copying disks", len(snapshot.vms)) as progress:
        for vm, saved in snapshot.vms.items():
            for number, disk in enumerate(saved.disks):
                copy(disk_of(folder, vm, number), on_machine(workspace, disk))
            progress.advance()


def memory_of(folder: Path, vm: str) -> Path:
    """Return the file of a snapshot with the memory of a VM."""
    return folder / _VMS / f"{vm}.memory"


def disk_of(folder: Path, vm: str, number: int) -> Path:
    """Return the file of a snapshot with a disk of a VM."""
    return folder / _VMS / f"{vm}.disk{number}"


def saved_memory(workspace: Workspace, vm: str) -> Path:
    """Return the file in which libvirt keeps the memory of a stopped VM: its managed save."""
    return libvirt_folder(workspace) / "qemu/save" / f"{vm}.save"


def link(source: Path, target: Path) -> None:
    """Give a file that nobody writes any more another name, or copy it to another file system.

    Raises:
        HostError: The file cannot be read, or the target cannot be written.
    """
    if attempt([*_root(), "cp", "--link", source, target]).returncode != 0:
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a file as root, with its holes, owner and mode.

    Raises:
        HostError: The file cannot be read, or the target cannot be written.
    """
    options = ("--reflink=auto", "--sparse=always", "--preserve=mode,ownership,timestamps")
    run([*_root(), "cp", *options, source, target], why=f"copying {source.name}", error=HostError)


def _delete(folder: Path) -> None:
    if folder.exists():
        run([*_root(), "rm", "-r", folder], why=f"deleting {folder.name}", error=HostError)


def _size(paths: Sequence[Path]) -> int:
    """Return the bytes that files and folders take on the disk."""
    printed = run(
        [*_root(), "du", "--block-size=1", "--total", "--summarize", *paths], why="measuring disks", error=HostError
    )
    return int(printed.splitlines()[-1].split()[0])


def on_machine(workspace: Workspace, path: str) -> Path:
    """Return the path of one of libvirt's files, as this machine sees it."""
    if not workspace.hypervisor.exists():
        return Path(path)
    return libvirt_folder(workspace) / Path(path).relative_to(LIBVIRT_FOLDER)


def _root() -> list[str]:
    return as_root(may_ask=True)


def keep(source: Path, target: Path) -> None:
    """Make a file the same as another one, also if that does not exist."""
    if source.exists():
        write_atomically(target, source.read_bytes())
    else:
        target.unlink(missing_ok=True)


def _configuration(file: Path) -> list[str]:
    """Return the lines of a stack file without the engine's salt."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line for line in lines if not line.startswith(_SALT)]
