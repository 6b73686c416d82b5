"""VMs and networks that somebody deleted beside the program, which the engine does not notice.

Once a refresh has made the engine forget a VM, the next update creates it again, with its disk if that is still there.
What can be deleted nevertheless: see `host.libvirt.undefined`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.libvirt.objects import identify, provider_uris
from host.libvirt.private import URI
from host.libvirt.vms import Vms
from system.commands import attempt, run
from system.errors import HostError

_DOMAIN, _NETWORK = "libvirt:index/domain:Domain", "libvirt:index/network:Network"
_VOLUMES = ("libvirt:index/volume:Volume", "libvirt:index/cloudInitDisk:CloudInitDisk")


@dataclass(frozen=True, kw_only=True)
class LostVm:
    """A VM in the state of a stack that libvirt does not have.

    Attributes:
        name: Its name in libvirt.
        has_disk: True if its disk is still there.
        urns: The resources that do not exist any more.
    """

    name: str
    has_disk: bool
    urns: Sequence[str]

    def __str__(self) -> str:
        disk = "its disk is still there" if self.has_disk else "its disk is gone, too"
        return f"VM {self.name} does not exist in libvirt any more; {disk}"


def lost_networks(deployment: Mapping[str, Any], virsh: Path) -> list[str]:
    """Return the names of the networks of a stack that libvirt does not have.

    Args:
        deployment: The stack, as `pulumi stack export` prints it.
        virsh: virsh. That of `.lab/bin` enters the namespaces of a private libvirt.

    Raises:
        HostError: libvirt does not answer.
    """
    resources: Sequence[Mapping[str, Any]] = deployment.get("resources") or []
    uris = provider_uris(resources)
    lost = []
    for each in resources:
        if each["type"] == _NETWORK:
            uri = uris.get(each.get("provider", "")) or URI
            command: list[str | Path] = [virsh, "--connect", uri, "net-list", "--all", "--name"]
            existing = run(command, why="listing the networks", error=HostError).split()
            if each["inputs"]["name"] not in existing:
                lost.append(each["inputs"]["name"])
    return lost


def lost_vms(deployment: Mapping[str, Any], virsh: Path) -> list[LostVm]:
    """Return the VMs of a stack that libvirt does not have.

    A VM whose name another one has now does not count: somebody defined it again, and knows why.

    Args:
        deployment: The stack, as `pulumi stack export` prints it.
        virsh: virsh. That of `.lab/bin` enters the namespaces of a private libvirt.

    Raises:
        HostError: libvirt does not answer.
    """
    resources: Sequence[Mapping[str, Any]] = deployment.get("resources") or []
    uris = provider_uris(resources)
    domains: dict[str, dict[str, Mapping[str, Any]]] = {}
    for each in resources:
        if each["type"] == _DOMAIN and not each.get("delete"):
            uri = uris.get(each.get("provider", "")) or URI
            domains.setdefault(uri, {})[each["inputs"]["name"]] = each
    found = []
    for uri, by_name in domains.items():
        existing = Vms(uri=uri, names=list(by_name), program=virsh).uuids()
        for name in sorted(by_name.keys() - existing.keys()):
            volumes = [
                each
                for each in resources
                if each["type"] in _VOLUMES and each.get("parent") == by_name[name].get("parent")
            ]
            lost = [each for each in volumes if _is_lost(each, uris, virsh)]
            has_disk = not any(each["type"] == _VOLUMES[0] for each in lost)
            urns = [by_name[name]["urn"], *(each["urn"] for each in lost)]
            found.append(LostVm(name=name, has_disk=has_disk, urns=urns))
    return found


def _is_lost(resource: Mapping[str, Any], uris: Mapping[str, str | None], virsh: Path) -> bool:
    """Return True if the pool of a volume runs and does not have it."""
    volume = identify(resource, uris)
    assert volume, f"{resource['urn']} is a volume with a name"
    listing = attempt([virsh, "--connect", volume.uri, "vol-list", "--pool", volume.pool])
    return listing.returncode == 0 and volume.name not in listing.stdout.split()
