"""What the command line tells people."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hardway.__main__ import main
from host.libvirt.private import PrivateLibvirt
from system.files import CHECKOUT


def test_a_file_that_cannot_be_used_is_named_with_the_reason_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hardway", "settle", str(tmp_path), "/bin/true"]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"hardway: {tmp_path}/.lab/state/.settling: No such file or directory\n"


def test_the_record_of_a_hypervisor_is_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "holder"
    monkeypatch.setattr(PrivateLibvirt, "start", lambda *_, **__: record.touch())
    monkeypatch.setattr(sys, "argv", ["hardway", "hypervisor", "start", str(tmp_path)])
    before = os.umask(0o077)
    try:
        assert main() == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(record.stat().st_mode) == 0o644
