"""VMs stop and continue with their memory in a real libvirt, with (empty) VMs. Needs root."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from host.libvirt.private import URI, PrivateLibvirt
from host.libvirt.vms import Vms
from tests.support.fake_programs import put
from tests.support.inside import define, virsh

NAMES = ("a", "b")
DOMAIN = """\
<domain type="qemu">
  <name>{name}</name>
  <memory unit="MiB">32</memory>
  <vcpu>1</vcpu>
  <cpu mode="maximum"/>
  <os><type arch="x86_64">hvm</type></os>
</domain>
"""


@pytest.fixture
def vms(hypervisor: PrivateLibvirt, tmp_path: Path) -> Vms:
    """Two running VMs without anything to boot from."""
    put(tmp_path, "virsh", f'exec {shlex.join(hypervisor.enter(["virsh"]))} "$@"')
    for name in NAMES:
        define(hypervisor, "", DOMAIN.format(name=name))
        virsh(hypervisor, "autostart", name)
        virsh(hypervisor, "start", name)
    return Vms(uri=URI, names=NAMES, program=tmp_path / "virsh")


def saved(hypervisor: PrivateLibvirt) -> dict[str, Path]:
    """Return the files in which libvirt has saved memory, by VM."""
    return {path.stem: path for path in (hypervisor.instance / "lib/qemu/save").glob("*.save")}


def autostarted(hypervisor: PrivateLibvirt) -> set[str]:
    """Return the VMs that start with libvirt."""
    return set(virsh(hypervisor, "list", "--all", "--autostart", "--name").split())


def test_vms_continue_with_their_memory(vms: Vms, hypervisor: PrivateLibvirt) -> None:
    vms.save()
    assert vms.states() == dict.fromkeys(NAMES, "saved")
    assert saved(hypervisor).keys() == set(NAMES)
    assert autostarted(hypervisor) == set()
    vms.start()
    assert vms.states() == dict.fromkeys(NAMES, "running")
    # libvirt removes a file only after it has restored the memory.
    assert saved(hypervisor) == {}
    assert autostarted(hypervisor) == set(NAMES)


def test_stopped_vms_stay_stopped_when_libvirt_restarts(vms: Vms, hypervisor: PrivateLibvirt, tmp_path: Path) -> None:
    vms.save()
    hypervisor.stop()
    hypervisor.start()
    put(tmp_path, "virsh", f'exec {shlex.join(hypervisor.enter(["virsh"]))} "$@"')
    assert vms.states() == dict.fromkeys(NAMES, "saved")
    vms.start()
    assert vms.states() == dict.fromkeys(NAMES, "running")


def test_memory_is_restored_more_than_once(vms: Vms, hypervisor: PrivateLibvirt, tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.memory" for name in NAMES}
    vms.save()
    for name, path in saved(hypervisor).items():
        files[name].hardlink_to(path)
    content = {name: file.read_bytes() for name, file in files.items()}
    vms.start()
    for _ in range(2):
        vms.discard()
        assert vms.states() == dict.fromkeys(NAMES, "shut off")
        vms.restore(files)
        assert vms.states() == dict.fromkeys(NAMES, "running")
    assert {name: file.read_bytes() for name, file in files.items()} == content


def test_vms_are_described(vms: Vms) -> None:
    assert vms.memory() == 2 * 32 * 1024**2
    assert vms.disks("a") == []
    assert vms.uuids().keys() == set(NAMES)
