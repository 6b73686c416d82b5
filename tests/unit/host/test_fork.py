"""A fork of a snapshot, with fake programs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from host import fork as forks
from host import prepare
from host.engine import locks, snapshots, stopped
from host.engine.snapshots import LabSnapshot, SavedVm
from host.engine.stack import Stack
from host.workspace import PROJECT, Workspace
from system.errors import HostError
from system.processes import Process
from tests.support.fake_lab import PROVIDER, FakeLab, domain, machine

POOL = {"urn": "urn::pool", "type": "libvirt:index/pool:Pool", "id": "uuid", "inputs": {"name": "lab"}}


def volume(name: str, kind: str = "volume:Volume", suffix: str = "") -> dict[str, Any]:
    """Return a volume in the state."""
    return {
        "urn": f"urn::{name}",
        "type": f"libvirt:index/{kind}",
        "id": f"/var/lib/libvirt/{name}{suffix}",
        "inputs": {},
    }


CONTROL_PLANE = {"urn": "urn::node", "type": "hardway:node:ControlPlane"}
RESOURCES = (
    CONTROL_PLANE,
    *(PROVIDER, POOL, volume("base"), volume("a.qcow2"), volume("a.iso", "cloudInitDisk:CloudInitDisk", ";uuid")),
    *(machine("a"), machine("b"), domain("a"), domain("b")),
)


def write_snapshot(lab: FakeLab) -> None:
    """Write the snapshot `before`, as `hardway snapshot` does."""
    folder = lab.workspace.snapshots("dev") / "before"
    (folder / "vms").mkdir(parents=True)
    vms = {}
    for name in lab.virsh.states():
        disks = [f"/var/lib/libvirt/{name}.{kind}" for kind in ("qcow2", "iso")]
        vms[name] = SavedVm(uuid=f"uuid-{name}", disks=disks)
        snapshots.memory_of(folder, name).write_text(f"memory of {name}")
        for number in range(len(disks)):
            snapshots.disk_of(folder, name, number).write_text("old")
    snapshot = LabSnapshot(name="before", time="2026-01-02T03:04:05Z", size=1, vms=vms)
    (folder / "snapshot.json").write_text(json.dumps(asdict(snapshot)))
    secrets = {"type": "passphrase", "state": {"salt": "v1:salt"}}
    state = {"generation": "old", "deployment": {"resources": RESOURCES, "secrets_providers": secrets}}
    (folder / snapshots.STATE).write_text(json.dumps(state))
    (folder / snapshots.CONFIGURATION).write_text("config: {}\n")
    (folder / snapshots.DRIFT).write_text("drift")
    (lab.virsh.folder / "base").write_text("base image")


class Forks:
    """The checkouts that `hardway` prepares and starts, with fake programs.

    Attributes:
        labs: The prepared checkouts.
        calls: The commands of `hardway` that were run.
        fails: The command that fails.
    """

    def __init__(self) -> None:
        self.labs: list[FakeLab] = []
        self.calls: list[str] = []
        self.fails = ""

    def run(
        self, words: Sequence[str], *, failure: str, folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Stand in for a command of `hardway` in another checkout."""
        [command] = {"prepare", "start"} & set(map(str, words))
        self.calls.append(f"{command} {folder.name}")
        if command == self.fails:
            raise HostError(failure)
        if command == "prepare":
            assert environment == {"PYTHONPATH": str(folder)}
            self.labs.append(FakeLab(folder, {}, private=True))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Forks:
    made = Forks()
    monkeypatch.setattr(forks, "run_visibly", made.run)
    monkeypatch.setattr(prepare, "hypervisor", lambda action, _: made.calls.append(action))
    return made


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Forks) -> Iterator[FakeLab]:
    """A lab in a private libvirt with the snapshot `before`, and something newer than that."""
    assert made.labs == []
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PULUMI_HOME", "PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "HARDWAY_LAB", "HARDWAY_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    for module in (snapshots, forks):
        monkeypatch.setattr(module, "_root", list)
    monkeypatch.setattr(forks, "_PREPARED", 0)
    lab = FakeLab.up(tmp_path / "checkout", private=True)
    write_snapshot(lab)
    lab.write_disks("new")
    lab.workspace.stack_file("dev").write_text("config: {hardway:name: newer}\n")
    (lab.workspace.checkout / "program.py").write_text("changed")
    (lab.workspace.checkout / ".git").mkdir()
    yield lab
    assert lab.virsh.calls() == []
    assert lab.disks() == {"new"}


def test_fork_is_a_stopped_lab_that_starts(lab: FakeLab, made: Forks) -> None:
    forks.create(lab.workspace, "dev", "before")
    [fork] = made.labs
    assert fork.workspace.checkout == lab.workspace.checkout.with_name("checkout-before")
    assert made.calls == ["prepare checkout-before", "start checkout-before"]
    assert fork.disks() == {"old"}
    assert (fork.virsh.folder / "base").read_text() == "base image"
    assert {path.name: path.read_text() for path in (fork.virsh.folder / "qemu/save").iterdir()} == {
        "a.save": "memory of a",
        "b.save": "memory of b",
    }
    assert fork.virsh.states() == {"a": "shut off", "b": "shut off"}
    assert stopped.read(fork.workspace, "dev") is not None
    assert sorted(path.name for path in fork.workspace.lab.iterdir() if "fork" in path.name) == []


def test_pools_and_networks_start_before_the_vms_exist(lab: FakeLab, made: Forks) -> None:
    forks.create(lab.workspace, "dev", "before")
    defined = [
        f"{kind}-{step} {name}"
        for kind, name in (("pool", "lab"), ("net", "net"))
        for step in ("define", "autostart", "start")
    ]
    assert made.labs[0].virsh.calls() == [*defined, "define a", "define b"]


def test_fork_has_the_current_program_and_the_former_stack(lab: FakeLab, made: Forks) -> None:
    (lab.workspace.lab / "counter-mhz").write_text("2600")
    forks.create(lab.workspace, "dev", "before")
    [fork] = made.labs
    assert fork.generation == "old"
    assert (fork.workspace.access("dev") / "repairs.json").read_text() == "drift"
    assert fork.workspace.stack_file("dev").read_text() == "config: {}\nencryptionsalt: v1:salt\n"
    assert (fork.workspace.checkout / "program.py").read_text() == "changed"
    assert not (fork.workspace.checkout / ".git").exists()
    assert fork.workspace.passphrase.read_text() == lab.workspace.passphrase.read_text()
    assert fork.workspace.passphrase.stat().st_mode & 0o777 == 0o600
    assert (fork.workspace.lab / "counter-mhz").read_text() == "2600"


def test_fork_knows_the_updates_before_the_snapshot(lab: FakeLab, made: Forks) -> None:
    for number in (1, 2):
        lab.record_update(number)
    description = lab.workspace.snapshots("dev") / "before/snapshot.json"
    description.write_text(json.dumps({**json.loads(description.read_text()), "update": "dev-1.history.json"}))
    forks.create(lab.workspace, "dev", "before")
    copied = made.labs[0].workspace.state / ".pulumi/history/hardway/dev"
    assert [path.name for path in copied.iterdir()] == ["dev-1.history.json"]


def test_changed_disks_of_a_fork_change_neither_snapshot_nor_original(lab: FakeLab, made: Forks) -> None:
    forks.create(lab.workspace, "dev", "before")
    made.labs[0].write_disks("of the fork")
    forks.create(lab.workspace, "dev", "before", lab.workspace.checkout.with_name("second"))
    assert made.labs[1].disks() == {"old"}


@pytest.mark.parametrize("fails", ["prepare", "state"])
def test_failed_fork_leaves_nothing(lab: FakeLab, made: Forks, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    made.fails = fails
    if fails == "state":
        monkeypatch.setattr(Stack, "import_state", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises((HostError, KeyboardInterrupt)):
        forks.create(lab.workspace, "dev", "before")
    assert not lab.workspace.checkout.with_name("checkout-before").exists()
    assert made.calls[-1] == "purge"


def test_fork_that_does_not_start_stays_stopped(lab: FakeLab, made: Forks) -> None:
    made.fails = "start"
    with pytest.raises(HostError, match=r"is complete, but does not run.*hardway start --stack dev"):
        forks.create(lab.workspace, "dev", "before")
    assert stopped.read(made.labs[0].workspace, "dev") is not None


def test_rest_of_a_killed_command_is_deleted(lab: FakeLab, made: Forks) -> None:
    rest = Workspace(lab.workspace.checkout.with_name("checkout-before"))
    rest.hypervisor.mkdir(parents=True)
    (rest.checkout / "rest").touch()
    (rest.lab / "unfinished-fork").write_text(str(Process.of(os.getpid())))
    with pytest.raises(HostError, match="checkout-before exists"):
        forks.create(lab.workspace, "dev", "before")
    (rest.lab / "unfinished-fork").write_text("1 1 another-boot\n")
    forks.create(lab.workspace, "dev", "before")
    assert made.calls[0] == "purge"
    assert not (rest.checkout / "rest").exists()


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("../other", r"other exists\. Choose another folder"),
        ("inside", "is inside this checkout"),
        ("../no/fork", "no is no folder"),
    ],
)
def test_folder_that_cannot_be_created_is_refused(lab: FakeLab, made: Forks, folder: str, problem: str) -> None:
    lab.workspace.checkout.with_name("other").touch()
    with pytest.raises(HostError, match=problem):
        forks.create(lab.workspace, "dev", "before", lab.workspace.checkout / folder)
    assert made.calls == []


def test_lab_of_the_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        HostError, match=r"(?s)cannot be forked: its VMs are in the system's libvirtd.*Nothing was changed"
    ):
        forks.create(Workspace(tmp_path), "dev", "before")


def test_shared_state_is_refused(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://shared")
    with pytest.raises(HostError, match="keep the state elsewhere"):
        forks.create(lab.workspace, "dev", "before")


def test_shell_inside_a_lab_is_refused(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDWAY_NAMESPACE", "/another/lab")
    with pytest.raises(HostError, match="inside a lab's network"):
        forks.create(lab.workspace, "dev", "before")


def test_unknown_snapshot_is_refused(lab: FakeLab) -> None:
    with pytest.raises(HostError, match=r"has no snapshot other\. It has before\."):
        forks.create(lab.workspace, "dev", "other")


def test_snapshot_of_a_recreated_vm_is_refused(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.libvirt.vms.Vms.uuids", lambda _: {"a": "uuid-a", "b": "another"})
    with pytest.raises(HostError, match="VM b was deleted or recreated after snapshot before"):
        forks.create(lab.workspace, "dev", "before")


def test_snapshot_in_another_daemon_is_refused(lab: FakeLab) -> None:
    state = lab.workspace.snapshots("dev") / "before" / snapshots.STATE
    state.write_text(state.read_text().replace("qemu:///system", "qemu:///session"))
    with pytest.raises(HostError, match="it has VMs in qemu:///session"):
        forks.create(lab.workspace, "dev", "before")


def test_lab_that_joins_a_cluster_is_refused(lab: FakeLab) -> None:
    state = lab.workspace.snapshots("dev") / "before" / snapshots.STATE
    state.write_text(state.read_text().replace("hardway:node:ControlPlane", "hardway:node:Worker"))
    with pytest.raises(HostError, match="it joins another cluster"):
        forks.create(lab.workspace, "dev", "before")


def test_too_little_memory_is_refused(lab: FakeLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9999999 kB\nMemAvailable:    1048576 kB\n")
    monkeypatch.setattr(forks, "_MEMORY_INFO", tmp_path / "meminfo")
    monkeypatch.setattr("host.libvirt.vms.Vms.memory", lambda _: 2**31)
    with pytest.raises(HostError, match=r"1\.0 GiB of memory left, and the VMs of the fork may need 2\.0 GiB"):
        forks.create(lab.workspace, "dev", "before")


def test_too_little_disk_is_refused(lab: FakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_PREPARED", 2**60)
    with pytest.raises(HostError, match=r"GiB left, and a fork of snapshot before may need"):
        forks.create(lab.workspace, "dev", "before")


def test_lab_that_an_engine_changes_is_refused(lab: FakeLab, made: Forks) -> None:
    with locks.held(lab.workspace.state, PROJECT, "dev"), pytest.raises(HostError, match="Another command is changing"):
        forks.create(lab.workspace, "dev", "before")
    assert not made.labs[0].workspace.checkout.exists()
