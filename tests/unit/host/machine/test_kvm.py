"""KVM is tried once per boot, with a guest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from host.machine import kvm
from tests.support.fake_programs import put


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Provide a QEMU and a device, and return the list of attempted boots. All of them succeed."""
    tried: list[str] = []

    def boots(_kernel: Path, accelerator: str, _cpu: str, as_root: Sequence[str]) -> bool:
        tried.append(" ".join([*as_root, accelerator]))
        return True

    fake_qemu(tmp_path, monkeypatch, version="1")
    (tmp_path / "kvm-device").touch()
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "kvm-device")
    monkeypatch.setattr(kvm, "boots", boots)
    return tried


def fake_qemu(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str, says: str = "", then: str = "") -> None:
    """Put a program in QEMU's place that prints a version, or the output of a guest."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "qemu-system-x86_64"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "QEMU {version}" && exit\necho "{says}"\n{then}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")


def test_without_the_device_nothing_is_tried(
    probes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "none")
    assert not kvm.works(tmp_path / "kernel", tmp_path / "cache")
    assert probes == []


def test_without_qemu_kvm_does_not_work(probes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not kvm.works(tmp_path / "kernel", tmp_path / "cache")
    assert probes == []


def test_a_device_of_root_is_tried_as_root(probes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, *others: path != kvm.DEVICE and allowed(path, *others))
    assert not kvm.works(tmp_path / "kernel", tmp_path / "cache")
    assert not kvm.works(tmp_path / "kernel", tmp_path / "cache", as_root=["false"])
    assert kvm.works(tmp_path / "kernel", tmp_path / "cache", as_root=["env"])
    assert probes == ["env kvm"]


def test_kvm_is_tried_once_per_boot(probes: list[str], tmp_path: Path) -> None:
    assert kvm.works(tmp_path / "kernel", tmp_path / "cache")
    assert kvm.works(tmp_path / "kernel", tmp_path / "cache")
    assert probes == ["kvm"]


@pytest.mark.usefixtures("probes")
def test_a_failure_is_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kvm, "boots", lambda *_, **__: False)
    assert not kvm.works(tmp_path / "kernel", tmp_path / "cache")
    monkeypatch.setattr(kvm, "boots", lambda *_, **__: True)
    assert not kvm.works(tmp_path / "kernel", tmp_path / "cache")


def test_kvm_is_tried_again_after_a_reboot(probes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kvm.works(tmp_path / "kernel", tmp_path / "cache")
    monkeypatch.setattr(kvm, "boot_id", lambda: "another boot")
    kvm.works(tmp_path / "kernel", tmp_path / "cache")
    assert probes == ["kvm", "kvm"]


def test_kvm_is_tried_again_with_another_qemu(
    probes: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kvm.works(tmp_path / "kernel", tmp_path / "cache")
    fake_qemu(tmp_path, monkeypatch, version="2")
    kvm.works(tmp_path / "kernel", tmp_path / "cache")
    assert probes == ["kvm", "kvm"]


def test_a_hanging_guest_is_killed_as_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_qemu(tmp_path, monkeypatch, version="1", then="exec sleep 1000")
    put(tmp_path / "bin", "become-root", f'echo "$1" >"{tmp_path}/started"; exec "$@"')
    assert not kvm.boots(tmp_path / "kernel", "kvm", "host", timeout=0.5, as_root=["become-root"])
    assert (tmp_path / "started").read_text() == "timeout\n"


@pytest.mark.parametrize(
    ("says", "then", "boots"),
    [
        ("Linux version 6.1\nKernel panic - not syncing: VFS: Unable to mount root fs", "", True),
        ("Linux version 6.1", "", False),
        ("", "exit 134", False),
        ("Linux version 6.1", "exec sleep 1000", False),
    ],
    ids=["boots", "stops early", "QEMU fails", "hangs"],
)
def test_only_a_guest_that_boots_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, then: str, boots: bool
) -> None:
    fake_qemu(tmp_path, monkeypatch, version="1", says=says, then=then)
    assert kvm.boots(tmp_path / "kernel", "kvm", "host", timeout=0.5) is boots
