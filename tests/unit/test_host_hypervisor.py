"""When a private hypervisor is started, without starting one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.errors import HostError
from host.hypervisor import Hypervisor


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a hypervisor, for somebody who is root as far as it is asked."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "instance"


def test_none_is_started_inside_another_lab(instance: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDWAY_NAMESPACE", "/another/lab/hypervisor/outside")
    with pytest.raises(HostError, match="inside a lab's network"):
        Hypervisor(instance).start()
