"""Starting a private libvirt, with fake processes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from host.libvirt import namespace, private
from host.libvirt.private import PrivateLibvirt
from system.errors import HostError
from system.processes import Process
from tests.support.fake_programs import put


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a private libvirt, for a user who seems to be root."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "instance"


@pytest.fixture
def started(instance: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Fake every launch, with this process as the holder. Return the value of `kvm` at each launch."""
    launches: list[bool] = []

    def launch(hypervisor: PrivateLibvirt) -> Process:
        launches.append(hypervisor._kvm_works())
        process = Process.of(os.getpid())
        assert process is not None
        (instance / "holder").write_text(str(process))
        return process

    monkeypatch.setattr(PrivateLibvirt, "_launch", launch)
    for method in ("_create_files", "_warm_up", "_end_processes"):
        monkeypatch.setattr(PrivateLibvirt, method, lambda *_: None)
    monkeypatch.setattr(private, "_virsh_answers", lambda _: True)
    monkeypatch.setattr(namespace, "KVM", instance / "no-device")
    return launches


def test_the_last_value_of_kvm_survives_a_reboot(instance: Path, started: list[bool]) -> None:
    for kvm in (None, True, None, False, None):
        PrivateLibvirt(instance).start(kvm=kvm)
        (instance / "holder").unlink()
    assert started == [False, True, True, False, False]


@pytest.mark.parametrize("works", [True, False])
@pytest.mark.usefixtures("started")
def test_a_running_libvirt_sees_a_changed_kvm(
    instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    (tmp_path / "device").touch()
    monkeypatch.setattr(namespace, "KVM", tmp_path / "device")
    monkeypatch.setattr(PrivateLibvirt, "_kvm_shown", lambda *_: not works)
    put(
        tmp_path,
        "nsenter",
        f'while [ "$1" != umount ] && [ "$1" != mount ]; do shift; done; echo "$1" >>"{tmp_path}/run"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    PrivateLibvirt(instance).start(kvm=not works)
    PrivateLibvirt(instance).start(kvm=works)
    assert (tmp_path / "run").read_text().split() == (["umount"] if works else ["mount", "mount"])


def test_start_waits_for_a_restarting_libvirtd(
    instance: Path, started: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    PrivateLibvirt(instance).start()
    answers = iter([False, False, True])
    monkeypatch.setattr(private, "_virsh_answers", lambda _: next(answers))
    PrivateLibvirt(instance).start()
    assert list(answers) == []
    assert len(started) == 1


@pytest.mark.usefixtures("started")
def test_missing_egress_is_reported_at_each_start(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PrivateLibvirt(instance).start()
    assert capsys.readouterr().err == ""
    (instance / "no-egress").write_text("slirp4netns: not found")
    PrivateLibvirt(instance).start()
    (instance / "holder").unlink()
    PrivateLibvirt(instance).start()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("no egress" in line and line.endswith(": slirp4netns: not found") for line in lines)


def test_no_start_inside_another_lab(instance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDWAY_NAMESPACE", "/another/lab/hypervisor/outside")
    with pytest.raises(HostError, match="inside a lab's network"):
        PrivateLibvirt(instance).start()


def test_only_root_can_read_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "BOUND", {name: tmp_path / "places" / name for name in namespace.BOUND})
    monkeypatch.setattr(namespace, "RUNTIME", tmp_path / "places/run")
    hypervisor = PrivateLibvirt(tmp_path / "instance")
    images = hypervisor.instance / "lib/images"
    images.mkdir(parents=True)  # readable for everybody, as in earlier versions
    hypervisor._create_files(owner=None)
    assert stat.S_IMODE(images.stat().st_mode) == 0o700
