"""VMs and networks that somebody undefined beside the program, and that the state still has.

The provider deletes neither: it finds nothing to delete, and fails (terraform-provider-libvirt v0.8.3,
resourceLibvirtDomainDelete and resourceLibvirtNetworkDelete). Volumes and pools may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from host.libvirt.objects import KINDS, identify, provider_uris
from system.commands import attempt, run
from system.errors import HostError


@dataclass(frozen=True)
class _Kind:
    """Commands of virsh for a kind of object.

    Attributes:
        list_uuids: Lists the UUIDs of all defined objects. One that only runs is deleted when it ends.
        define: Defines an object from a file.
        text: The smallest definition.
    """

    list_uuids: Sequence[str]
    define: str
    text: str


_KINDS = {
    "libvirt:index/domain:Domain": _Kind(
        list_uuids=("list", "--all", "--persistent", "--uuid"),
        define="define",
        text='<domain type="qemu"><name>{name}</name><uuid>{uuid}</uuid><memory unit="MiB">32</memory>'
        "<os><type>hvm</type></os></domain>",
    ),
    "libvirt:index/network:Network": _Kind(
        list_uuids=("net-list", "--all", "--persistent", "--uuid"),
        define="net-define",
        text="<network><name>{name}</name><uuid>{uuid}</uuid></network>",
    ),
}


def define_again(deployment: Mapping[str, Any], virsh: Path) -> list[str]:
    """Define the VMs and networks that a state has and libvirt lacks, without content, so that they can be deleted.

    Does nothing in a libvirt that does not answer, which the engine reports.

    Args:
        deployment: The stack, as `pulumi stack export` prints it.
        virsh: The program.

    Returns:
        The defined objects, such as `domain hardway-node-1`.

    Raises:
        HostError: One cannot be defined.
    """
    resources = deployment.get("resources") or []
    uris = provider_uris(resources)
    defined: dict[tuple[str, str], set[str] | None] = {}
    found = []
    for resource in resources:
        subject, kind = identify(resource, uris), _KINDS.get(resource["type"])
        if subject is None or kind is None:
            continue
        place = (resource["type"], subject.uri)
        if place not in defined:
            answer = attempt([virsh, "--connect", subject.uri, *kind.list_uuids])
            defined[place] = set(answer.stdout.split()) if answer.returncode == 0 else None
        uuids = defined[place]
        if uuids is None or resource["id"] in uuids:
            continue
        run(
            [virsh, "--connect", subject.uri, kind.define, "/dev/stdin"],
            stdin=kind.text.format(name=escape(subject.name), uuid=resource["id"]),
            why=f"{KINDS[subject.type].title} {subject.name} was undefined, and cannot be defined to be deleted",
            error=HostError,
        )
        found.append(str(subject))
    return found
