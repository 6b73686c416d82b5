"""A lab stops with the memory of its VMs, starts again, and returns to snapshots, with fake programs."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from host.engine import drift, history, locks, snapshots, stopped, suspension
from host.engine.stack import Stack
from host.libvirt.vms import Vms
from host.workspace import PROJECT
from system.errors import HostError
from tests.support.fake_lab import PROVIDER, FakeLab, domain, machine


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeLab:
    monkeypatch.setattr(suspension, "LIBVIRT_FOLDER", tmp_path / "libvirt")
    monkeypatch.setattr(snapshots, "_root", list)
    monkeypatch.setattr(Stack, "wait_until_awake", lambda *_: None)
    lab = FakeLab.up(tmp_path / "checkout")
    monkeypatch.setattr(drift, "RECORDS", lab.workspace.lab / "stacks")
    return lab


def test_stopped_lab_continues(lab: FakeLab) -> None:
    suspension.stop(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "saved", "b": "saved"}
    assert "Start it: `.lab/bin/hardway start --stack dev`" in str(stopped.read(lab.workspace, "dev"))
    suspension.start(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "running", "b": "running"}
    assert stopped.read(lab.workspace, "dev") is None


def test_all_vms_continue_if_one_cannot_be_saved(lab: FakeLab) -> None:
    lab.virsh.refuse("managedsave", "b")
    with pytest.raises(HostError, match=r"(?s)VM b.*device that cannot be saved.*Stack dev runs as before"):
        suspension.stop(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "running", "b": "running"}
    assert stopped.read(lab.workspace, "dev") is None


def test_lab_with_an_existing_machine_is_not_stopped(lab: FakeLab) -> None:
    lab.set_state(PROVIDER, machine("a"), machine("metal"), domain("a"))
    with pytest.raises(HostError, match="cannot be stopped: metal is an existing machine"):
        suspension.stop(lab.workspace, "dev")
    assert lab.virsh.calls() == []


def test_lab_is_not_stopped_without_space_for_its_memory(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.libvirt.vms.Vms.memory", lambda _: 2**60)
    with pytest.raises(HostError, match=r"GiB left, and the memory of the VMs may need 1073741824\.0 GiB"):
        suspension.stop(lab.workspace, "dev")
    assert lab.virsh.calls() == []


def test_lab_that_an_engine_changes_is_not_stopped(lab: FakeLab) -> None:
    with locks.held(lab.workspace.state, PROJECT, "dev"), pytest.raises(HostError, match="Another command is changing"):
        suspension.stop(lab.workspace, "dev")
    assert lab.virsh.calls() == []


OTHER = "qemu+ssh://root@b.example/system"


def put_on_hosts(lab: FakeLab) -> None:
    """Put VM b on another host."""
    other = {**PROVIDER, "urn": "urn::other", "inputs": {"uri": OTHER}}
    moved = {**domain("b"), "provider": "urn::other::1"}
    lab.set_state(PROVIDER, other, machine("a"), machine("b"), domain("a"), moved)


def test_vms_of_several_hosts_stop_and_start_together(lab: FakeLab) -> None:
    put_on_hosts(lab)
    suspension.stop(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "saved", "b": "saved"}
    suspension.start(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "running", "b": "running"}


def test_no_vm_runs_before_all_hosts_have_loaded_theirs(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    put_on_hosts(lab)
    suspension.stop(lab.workspace, "dev")
    load, resume, some_run = Vms.load, Vms.resume, threading.Event()

    def load_late(vms: Vms) -> None:
        if vms.uri == OTHER:
            assert not some_run.wait(0.5)
        load(vms)

    def note(vms: Vms) -> None:
        some_run.set()
        resume(vms)

    monkeypatch.setattr(Vms, "load", load_late)
    monkeypatch.setattr(Vms, "resume", note)
    suspension.start(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "running", "b": "running"}


def test_lab_with_a_silent_host_is_not_stopped(lab: FakeLab) -> None:
    put_on_hosts(lab)
    lab.virsh.silence(OTHER)
    with pytest.raises(HostError, match=rf"failed to connect to {re.escape(OTHER)}"):
        suspension.stop(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "running", "b": "running"}
    assert lab.virsh.calls() == []


def test_other_hosts_start_without_a_silent_one(lab: FakeLab) -> None:
    put_on_hosts(lab)
    suspension.stop(lab.workspace, "dev")
    lab.virsh.silence(OTHER)
    with pytest.raises(
        HostError, match=rf"(?s)failed to connect to {re.escape(OTHER)}.*All other VMs run\. Start these"
    ):
        suspension.start(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "running", "b": "saved"}
    assert stopped.read(lab.workspace, "dev") is not None
    lab.virsh.answer(OTHER)
    suspension.start(lab.workspace, "dev")
    assert lab.virsh.states() == {"a": "running", "b": "running"}
    assert stopped.read(lab.workspace, "dev") is None


def test_missing_vm_is_named(lab: FakeLab) -> None:
    lab.virsh.set({"a": "running"})
    with pytest.raises(HostError, match="VM b does not exist"):
        suspension.stop(lab.workspace, "dev")


def test_snapshot_brings_back_disks_memory_and_state(lab: FakeLab) -> None:
    record = drift.record_path("dev")
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text("then")
    snapshots.take(lab.workspace, "dev", "before")
    assert lab.virsh.states() == {"a": "running", "b": "running"}
    lab.write_disks("new")
    record.write_text("now")
    lab.set_state(PROVIDER, machine("a"), machine("b"), domain("a"), domain("b"), generation="new")
    snapshots.revert(lab.workspace, "dev", "before")
    assert (lab.disks(), lab.generation, record.read_text()) == ({"old"}, "", "then")
    assert lab.virsh.states() == {"a": "running", "b": "running"}
    memory = [call.split()[1] for call in lab.virsh.calls() if call.startswith("restore ")]
    assert {Path(file).read_text() for file in memory} == {"memory of a", "memory of b"}
    assert stopped.read(lab.workspace, "dev") is None


def test_snapshot_of_a_stopped_lab_leaves_it_stopped(lab: FakeLab) -> None:
    suspension.stop(lab.workspace, "dev")
    snapshots.take(lab.workspace, "dev", "before")
    assert lab.virsh.states() == {"a": "saved", "b": "saved"}
    snapshots.revert(lab.workspace, "dev", "before")
    assert lab.virsh.states() == {"a": "running", "b": "running"}


def test_snapshots_are_listed_and_deleted(lab: FakeLab) -> None:
    snapshots.take(lab.workspace, "dev", "before")
    [found] = snapshots.listed(lab.workspace, "dev")
    assert (found.name, list(found.vms)) == ("before", ["a", "b"])
    with pytest.raises(HostError, match="Snapshot before of stack dev exists"):
        snapshots.take(lab.workspace, "dev", "before")
    snapshots.delete(lab.workspace, "dev", "before")
    assert snapshots.listed(lab.workspace, "dev") == []
    with pytest.raises(HostError, match=r"has no snapshot before\. It has none\."):
        snapshots.delete(lab.workspace, "dev", "before")


def test_revert_returns_to_the_last_update_before_the_snapshot(lab: FakeLab) -> None:
    lab.record_update(0)
    # The second snapshot is of a lab that returned to the first one.
    for number, snapshot in enumerate(("first", "second"), 1):
        snapshots.take(lab.workspace, "dev", snapshot)
        lab.record_update(number)
        snapshots.revert(lab.workspace, "dev", snapshot)
        found = history.last_successful(history.updates(lab.workspace, "dev"))
        assert found
        assert found.configuration == {"number": 0}


def test_failed_snapshot_leaves_a_running_lab(lab: FakeLab) -> None:
    (lab.virsh.folder / "b.qcow2").unlink()
    with pytest.raises(HostError):
        snapshots.take(lab.workspace, "dev", "before")
    assert lab.virsh.states() == {"a": "running", "b": "running"}
    assert snapshots.listed(lab.workspace, "dev") == []


def test_lab_without_copyable_disks_is_refused(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.libvirt.vms.Vms.disks", lambda *_: [])
    with pytest.raises(HostError, match="The disks of VM a and b are no files"):
        snapshots.take(lab.workspace, "dev", "before")
    assert lab.virsh.calls() == []


@pytest.mark.parametrize("name", ["", ".hidden", "../up", "a b"])
def test_invalid_name_is_refused(lab: FakeLab, name: str) -> None:
    with pytest.raises(HostError, match="is no valid name of a snapshot"):
        snapshots.take(lab.workspace, "dev", name)


def test_lab_with_other_vms_does_not_return(lab: FakeLab) -> None:
    snapshots.take(lab.workspace, "dev", "before")
    lab.virsh.set({"a": "running", "b": "running", "c": "running"})
    lab.set_state(PROVIDER, *(part(name) for name in "abc" for part in (machine, domain)))
    with pytest.raises(HostError, match="VM c was created after snapshot before"):
        snapshots.revert(lab.workspace, "dev", "before")
    lab.set_state(PROVIDER, machine("a"), domain("a"))
    with pytest.raises(HostError, match="VM b was deleted or recreated after snapshot before"):
        snapshots.revert(lab.workspace, "dev", "before")
    assert lab.virsh.states() == {"a": "running", "b": "running", "c": "running"}


def test_interrupted_revert_is_only_repeated(lab: FakeLab) -> None:
    snapshots.take(lab.workspace, "dev", "before")
    lab.virsh.refuse("restore", "b")
    with pytest.raises(HostError, match="VM b"):
        snapshots.revert(lab.workspace, "dev", "before")
    for command in (suspension.start, suspension.stop):
        with pytest.raises(HostError, match=r"was interrupted.*hardway revert before --stack dev"):
            command(lab.workspace, "dev")
    (lab.virsh.folder / "refuses-restore-b").unlink()
    snapshots.revert(lab.workspace, "dev", "before")
    assert lab.virsh.states() == {"a": "running", "b": "running"}


def test_changed_configuration_is_kept_and_named(lab: FakeLab, capfd: pytest.CaptureFixture[str]) -> None:
    snapshots.take(lab.workspace, "dev", "before")
    lab.workspace.stack_file("dev").write_text("encryptionsalt: x\nconfig: {}\n")
    snapshots.revert(lab.workspace, "dev", "before")
    assert "has changed since the snapshot" not in capfd.readouterr().err
    lab.workspace.stack_file("dev").write_text("config: {hardway:name: other}\n")
    snapshots.revert(lab.workspace, "dev", "before")
    assert "Pulumi.dev.yaml has changed since the snapshot, and stays as it is" in capfd.readouterr().err
    assert lab.workspace.stack_file("dev").read_text() == "config: {hardway:name: other}\n"


def test_snapshot_of_an_interrupted_revert_is_not_deleted(lab: FakeLab) -> None:
    snapshots.take(lab.workspace, "dev", "before")
    stopped.write(lab.workspace, "dev", reverting="before")
    with pytest.raises(HostError, match=r"still needed.*hardway revert before"):
        snapshots.delete(lab.workspace, "dev", "before")
    assert [found.name for found in snapshots.listed(lab.workspace, "dev")] == ["before"]


def test_lab_with_an_existing_machine_does_not_return(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots.take(lab.workspace, "dev", "before")
    found = suspension.LabVms.of(lab.workspace, "dev")
    monkeypatch.setattr(suspension.LabVms, "of", lambda *_: replace(found, machines=["metal"]))
    with pytest.raises(HostError, match=r"Existing machine metal was added after snapshot before"):
        snapshots.revert(lab.workspace, "dev", "before")
    assert stopped.read(lab.workspace, "dev") is None
