"""VMs and networks that somebody deleted, found by the state of a stack and a fake virsh."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from host.engine.lost import LostVm, lost_networks, lost_vms
from system.errors import HostError
from tests.support.fake_programs import put

PROVIDER = "urn:pulumi:dev::hardway::pulumi:providers:libvirt::lab"
LISTING = """
case "$*" in
  *" list "*) printf 'uuid-%s %s\\n' $(for vm in {vms}; do echo $vm $vm; done) ;;
  *" vol-list "*) [ -n "{volumes}" ] || exit 1
    printf ' Name Path\\n---\\n'; for volume in {volumes}; do echo " $volume /pool/$volume"; done ;;
  *) exit 2 ;;
esac
"""
FILES = {"domain:Domain": "", "volume:Volume": ".qcow2", "cloudInitDisk:CloudInitDisk": ".iso"}
ALL_VOLUMES = ("a.qcow2", "a.iso", "b.qcow2", "b.iso")


def deployment(*vms: str) -> dict[str, Any]:
    """Return a stack with VMs, each with its disk and its volume for cloud-init."""
    provider = {"urn": PROVIDER, "id": "1", "type": "pulumi:providers:libvirt", "inputs": {"uri": "test:///default"}}
    resources = [provider]
    for vm in vms:
        for kind, file in FILES.items():
            resources.append(
                {
                    "urn": f"{kind.partition(':')[2]} {vm}",
                    "type": f"libvirt:index/{kind}",
                    "parent": f"machine {vm}",
                    "provider": f"{PROVIDER}::1",
                    "inputs": {"name": f"{vm}{file}", **({"pool": "lab"} if file else {})},
                }
            )
    return {"resources": resources}


def find(folder: Path, vms: Sequence[str], volumes: Sequence[str]) -> list[LostVm]:
    """Return the lost ones of two VMs, if libvirt has these VMs and volumes. Without volumes, the pool is stopped."""
    put(folder, "virsh", LISTING.format(vms=" ".join(vms), volumes=" ".join(volumes)))
    return lost_vms(deployment("a", "b"), folder / "virsh")


def test_a_lab_with_all_vms_has_lost_none(tmp_path: Path) -> None:
    assert find(tmp_path, ["a", "b"], ALL_VOLUMES) == []


def test_a_lost_vm_keeps_its_disk(tmp_path: Path) -> None:
    [lost] = find(tmp_path, ["a"], ALL_VOLUMES)
    assert lost.urns == ["Domain b"]
    assert str(lost) == "VM b does not exist in libvirt any more; its disk is still there"


def test_volumes_are_lost_with_their_vm(tmp_path: Path) -> None:
    [lost] = find(tmp_path, ["a"], ["a.qcow2", "a.iso"])
    assert lost.urns == ["Domain b", "Volume b", "CloudInitDisk b"]
    assert not lost.has_disk


def test_volumes_of_a_stopped_pool_are_not_lost(tmp_path: Path) -> None:
    [lost] = find(tmp_path, ["a"], [])
    assert lost.urns == ["Domain b"]


def test_a_libvirt_that_does_not_answer_has_lost_nothing(tmp_path: Path) -> None:
    put(tmp_path, "virsh", "echo failed to connect >&2; exit 1")
    with pytest.raises(HostError, match="failed to connect"):
        lost_vms(deployment("a"), tmp_path / "virsh")


def test_a_lost_network_is_found(tmp_path: Path) -> None:
    network = {"urn": "network", "id": "1", "type": "libvirt:index/network:Network", "inputs": {"name": "lab"}}
    for existing, expected in (("lab other", []), ("other", ["lab"])):
        put(tmp_path, "virsh", f"printf '%s\\n' {existing}")
        assert lost_networks({"resources": [network]}, tmp_path / "virsh") == expected
