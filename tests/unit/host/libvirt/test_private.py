"""When a private hypervisor is started, and what is laid out for it, without starting one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from host.libvirt import namespace
from host.libvirt import private as host_hypervisor
from host.libvirt.private import PrivateLibvirt
from system.errors import HostError
from system.processes import Process
from tests.support.fake_programs import put


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a hypervisor, for somebody who is root as far as it is asked."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "instance"


@pytest.fixture
def started(instance: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether KVM served at each launch of a hypervisor, none of which happens but for its holder: this process."""
    launches: list[bool] = []

    def launch(hypervisor: PrivateLibvirt) -> Process:
        launches.append(hypervisor._kvm_serves())
        process = Process.of(os.getpid())
        assert process is not None
        (instance / "holder").write_text(str(process))
        return process

    monkeypatch.setattr(PrivateLibvirt, "_launch", launch)
    for method in ("_lay_out", "_warm_up", "_end_processes"):
        monkeypatch.setattr(PrivateLibvirt, method, lambda *_: None)
    monkeypatch.setattr(host_hypervisor, "_virsh_answers", lambda _: True)
    monkeypatch.setattr(namespace, "KVM", instance / "no-device")
    return launches


def test_kvm_serves_after_a_reboot_as_it_did_before(instance: Path, started: list[bool]) -> None:
    for kvm in (None, True, None, False, None):
        PrivateLibvirt(instance).start(kvm=kvm)
        (instance / "holder").unlink()
    assert started == [False, True, True, False, False]


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.usefixtures("started")
def test_a_hypervisor_that_runs_is_shown_or_hidden_kvm(
    instance: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serves: bool
) -> None:
    (tmp_path / "device").touch()
    monkeypatch.setattr(namespace, "KVM", tmp_path / "device")
    monkeypatch.setattr(PrivateLibvirt, "_kvm_shown", lambda *_: not serves)
    put(
        tmp_path,
        "nsenter",
        f'while [ "$1" != umount ] && [ "$1" != mount ]; do shift; done; echo "$1" >>"{tmp_path}/run"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    PrivateLibvirt(instance).start(kvm=not serves)
    PrivateLibvirt(instance).start(kvm=serves)
    assert (tmp_path / "run").read_text().split() == (["umount"] if serves else ["mount", "mount"])


def test_a_libvirtd_that_is_being_started_again_is_waited_for(
    instance: Path, started: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    PrivateLibvirt(instance).start()
    answers = iter([False, False, True])
    monkeypatch.setattr(host_hypervisor, "_virsh_answers", lambda _: next(answers))
    PrivateLibvirt(instance).start()
    assert list(answers) == []
    assert len(started) == 1


@pytest.mark.usefixtures("started")
def test_it_is_said_at_each_start_why_vms_have_no_way_out(instance: Path, capsys: pytest.CaptureFixture[str]) -> None:
    PrivateLibvirt(instance).start()
    assert capsys.readouterr().out == ""
    (instance / "no-way-out").write_text("slirp4netns: not found")
    PrivateLibvirt(instance).start()
    (instance / "holder").unlink()
    PrivateLibvirt(instance).start()
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 2
    assert all("no way out" in line and line.endswith(": slirp4netns: not found") for line in told)


def test_none_is_started_inside_another_lab(instance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDWAY_NAMESPACE", "/another/lab/hypervisor/outside")
    with pytest.raises(HostError, match="inside a lab's network"):
        PrivateLibvirt(instance).start()


def test_the_disks_of_vms_are_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "BOUND", {name: tmp_path / "places" / name for name in namespace.BOUND})
    monkeypatch.setattr(namespace, "RUNTIME", tmp_path / "places/run")
    hypervisor = PrivateLibvirt(tmp_path / "instance")
    images = hypervisor.instance / "lib/images"
    images.mkdir(parents=True)  # as one from before has it, for everybody
    hypervisor._lay_out(owner=None)
    assert stat.S_IMODE(images.stat().st_mode) == 0o700
