"""Definitions of VMs, networks and pools: read from one libvirt, and created in another with the same UUIDs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from host.libvirt.private import URI
from system.commands import run
from system.errors import HostError


@dataclass(frozen=True, kw_only=True)
class Definitions:
    """Definitions in the XML of libvirt, by name.

    Attributes:
        pools: The storage pools.
        networks: The networks.
        vms: The VMs.
    """

    pools: Mapping[str, str]
    networks: Mapping[str, str]
    vms: Mapping[str, str]

    @classmethod
    def read(cls, virsh: Path, pools: Collection[str], vms: Collection[str]) -> Definitions:
        """Read the definitions of pools, of VMs, and of the networks that the VMs are connected to.

        Args:
            virsh: The program `virsh` of a checkout.
            pools: Names of the pools.
            vms: Names of the VMs.

        Raises:
            HostError: One of them does not exist, or libvirt does not answer.
        """

        def dump(command: str, names: Collection[str]) -> dict[str, str]:
            return {name: _virsh(virsh, command, "--inactive", name) for name in sorted(names)}

        domains = dump("dumpxml", vms)
        networks = {
            source.attrib["network"]
            for text in domains.values()
            for source in ElementTree.fromstring(text).iterfind("./devices/interface/source[@network]")
        }
        return cls(pools=dump("pool-dumpxml", pools), networks=dump("net-dumpxml", networks), vms=domains)

    @property
    def bridges(self) -> list[str]:
        """The names of the bridges of the networks."""
        found = (ElementTree.fromstring(text).find("./bridge[@name]") for text in self.networks.values())
        return [bridge.attrib["name"] for bridge in found if bridge is not None]

    def create(self, virsh: Path) -> None:
        """Define everything in another libvirt, and start pools and networks. They also start with it.

        Args:
            virsh: The program `virsh` of the other checkout.

        Raises:
            HostError: libvirt refuses a definition, or cannot start a pool or network.
        """
        for kind, definitions in (("pool", self.pools), ("net", self.networks)):
            for name, text in definitions.items():
                _virsh(virsh, f"{kind}-define", "/dev/stdin", stdin=text)
                _virsh(virsh, f"{kind}-autostart", name)
                _virsh(virsh, f"{kind}-start", name)
        for text in self.vms.values():
            _virsh(virsh, "define", "/dev/stdin", stdin=text)


def _virsh(virsh: Path, *command: str, stdin: str | None = None) -> str:
    return run(
        [virsh, "--connect", URI, *command],
        why="copying the definitions of VMs and networks",
        environment={"LC_ALL": "C"},
        stdin=stdin,
        error=HostError,
    )
