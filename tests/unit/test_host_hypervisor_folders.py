"""The folders of a private hypervisor, as they are before anything runs in it."""

import stat
from pathlib import Path

import pytest

from host import namespace
from host.hypervisor import Hypervisor


def test_the_disks_of_vms_are_for_root_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "BOUND", {name: tmp_path / "places" / name for name in namespace.BOUND})
    monkeypatch.setattr(namespace, "RUNTIME", tmp_path / "places/run")
    hypervisor = Hypervisor(tmp_path / "instance")
    images = hypervisor.instance / "lib/images"
    images.mkdir(parents=True)  # as one from before has it, for everybody
    hypervisor._lay_out(owner=None)
    assert stat.S_IMODE(images.stat().st_mode) == 0o700
