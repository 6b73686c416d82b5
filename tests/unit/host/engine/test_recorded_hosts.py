"""The providers of existing VMs, read from the state with a fake engine."""

import json
from pathlib import Path
from typing import Any

import pytest

from host.engine.recorded_hosts import provider_names
from system.errors import HostError
from tests.support.fake_programs import put

PREFIX = "urn:pulumi:dev::hardway::hardway:lab:Lab$"
PROVIDER = f"{PREFIX}hardway:hypervisor:Hypervisor$pulumi:providers:libvirt::hardway-hypervisor"
DISK, MACHINE = "libvirt:index/volume:Volume", "hardway:machine:Machine"


def machine(node: str) -> dict[str, Any]:
    return {"urn": f"{PREFIX}{MACHINE}::{node}", "type": MACHINE}


def disk(node: str, host: str, **others: Any) -> dict[str, Any]:
    """Return the disk of a node in the state."""
    return {
        "urn": f"{PREFIX}{MACHINE}${DISK}::{node}-disk",
        "type": DISK,
        "parent": f"{PREFIX}{MACHINE}::{node}",
        "provider": f"{PROVIDER}-{host}-libvirt::1",
        **others,
    }


def pool(host: str) -> dict[str, Any]:
    return disk("", host) | {"parent": f"{PREFIX}hardway:hypervisor:Hypervisor::hardway-hypervisor-{host}"}


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def export(folder: Path, deployment: object) -> None:
    """Make the engine export a deployment."""
    put(
        folder,
        "pulumi",
        f"""[ "$*" = "stack export --stack o/p/dev" ] && echo '{json.dumps({"deployment": deployment})}'""",
    )


def test_vm_has_the_provider_of_its_disk(programs: Path) -> None:
    replaced = disk("node-1", "a", delete=True)
    parts = [machine("node-0"), machine("node-1"), pool("c"), disk("node-0", "a"), disk("node-1", "b"), replaced]
    export(programs, {"resources": parts})
    assert provider_names("o/p/dev") == {
        "node-0": "hardway-hypervisor-a-libvirt",
        "node-1": "hardway-hypervisor-b-libvirt",
    }


@pytest.mark.parametrize("deployment", [None, {}, {"resources": None}])
def test_stack_without_resources_has_no_vms(programs: Path, deployment: object) -> None:
    export(programs, deployment)
    assert provider_names("o/p/dev") == {}


def test_unreadable_state_is_an_error(programs: Path) -> None:
    put(programs, "pulumi", "echo 'no such backend' >&2; exit 255")
    with pytest.raises(HostError, match=r"o/p/dev does not tell .*: no such backend\. Nothing was changed\..*set host"):
        provider_names("o/p/dev")


def test_missing_engine_is_an_error() -> None:
    with pytest.raises(HostError, match="pulumi cannot be run: No such file"):
        provider_names("o/p/dev")
