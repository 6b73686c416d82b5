"""VMs stop and continue with their memory, with a fake virsh."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.libvirt.vms import Vms
from system.errors import HostError
from tests.support.fake_virsh import FakeVirsh

NAMES = ("a", "b")


@pytest.fixture
def virsh(tmp_path: Path) -> FakeVirsh:
    return FakeVirsh(tmp_path, {"a": "running", "b": "running", "someone": "running"})


@pytest.fixture
def vms(virsh: FakeVirsh) -> Vms:
    return Vms(uri="qemu:///system", names=NAMES, program=virsh.folder / "virsh")


def test_all_vms_pause_before_any_is_saved(vms: Vms, virsh: FakeVirsh) -> None:
    vms.save()
    assert virsh.states() == {"a": "saved", "b": "saved", "someone": "running"}
    assert virsh.calls()[:4] == ["suspend a", "suspend b", "autostart --disable a", "autostart --disable b"]
    assert sorted(virsh.calls()[4:]) == ["managedsave a --running", "managedsave b --running"]


def test_all_vms_are_restored_before_any_continues(vms: Vms, virsh: FakeVirsh) -> None:
    virsh.set({"a": "saved", "b": "shut off"})
    vms.start()
    assert virsh.states() == {"a": "running", "b": "running"}
    assert sorted(virsh.calls()[:2]) == ["start a --paused", "start b --paused"]
    assert virsh.calls()[2:] == ["autostart a", "autostart b", "resume a", "resume b"]


def test_only_vms_that_run_are_saved(vms: Vms, virsh: FakeVirsh) -> None:
    virsh.set({"a": "saved", "b": "running"})
    vms.save()
    assert virsh.calls() == ["suspend b", "autostart --disable b", "managedsave b --running"]


def test_running_vms_are_left_alone(vms: Vms, virsh: FakeVirsh) -> None:
    vms.start()
    assert virsh.calls() == ["autostart a", "autostart b"]


@pytest.mark.parametrize("command", ["suspend", "managedsave"])
def test_vm_that_cannot_be_saved_is_named_with_the_reason(vms: Vms, virsh: FakeVirsh, command: str) -> None:
    virsh.refuse(command, "a")
    with pytest.raises(HostError, match=r"(?s)\ba\b.*device that cannot be saved"):
        vms.save()


def test_memory_is_restored_from_files(vms: Vms, virsh: FakeVirsh, tmp_path: Path) -> None:
    vms.discard()
    assert virsh.states() == {"a": "shut off", "b": "shut off", "someone": "running"}
    vms.restore({name: tmp_path / f"{name}.memory" for name in NAMES})
    assert virsh.states() == {"a": "running", "b": "running", "someone": "running"}
    assert f"restore {tmp_path}/a.memory --paused" in virsh.calls()


def test_saved_memory_is_discarded(vms: Vms, virsh: FakeVirsh) -> None:
    virsh.set({"a": "saved", "b": "paused"})
    vms.discard()
    assert virsh.states() == {"a": "shut off", "b": "shut off"}


def test_vms_are_described(vms: Vms, virsh: FakeVirsh) -> None:
    assert vms.states() == {"a": "running", "b": "running"}
    assert vms.uuids() == {"a": "uuid-a", "b": "uuid-b"}
    assert vms.disks("a") == [f"{virsh.folder}/a.qcow2", f"{virsh.folder}/a.iso"]
