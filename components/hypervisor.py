"""libvirt: the network and storage of a lab, and the VMs on them. The only module that knows pulumi-libvirt."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_libvirt as libvirt

from host.libvirt.placement import is_elsewhere
from host.machine import kvm, tsc
from lab.spec import Node, Spec, Virtualization, VmSize
from toolchain.cache import default_folder
from toolchain.vm_image import VmImage

POOLS = "/var/lib/libvirt/images"
GIB = 1024**3
EMULATED_CPU = {
    # It does not speculate: what guards against that would cost a fifth of the boot's time.
    "mitigations": "off",
    # Guards of the kernel's memory against its own faults, switched at every copy from or to a program, which leaves
    # the translated code; and copying by instructions that real CPUs are quick at, but QEMU does byte after byte.
    "clearcpuid": "smap,smep,umip,pku,erms,rep_good",
    # Memory is cleared when it is handed to a program; each piece that the kernel itself takes would be, too.
    "init_on_alloc": "0",
    # Of a huge page QEMU knows only the small ones that were used, and forgets all it knows when one of them goes.
    "transparent_hugepage": "never",
}
"""What the kernel of an emulated CPU is told."""

EMULATED_CPU_FLAGS = (
    # Each level of the page tables is a step for every page that is looked up.
    "no5lvl",
    # QEMU 7.2 translates a program anew at every address that it finds it at. At the same one each time, a small
    # program ends in a third of the time.
    "norandmaps",
)
"""The same without values."""


def emulated_clock(libvirt_uri: str) -> dict[str, str]:
    """What the kernel of an emulated CPU is told of the time, where libvirt runs on this machine.

    All of its CPUs count the ticks of the host. The kernel cannot know, and would ask a device for the time, which
    leaves the emulated code each time. Nor can it measure how fast they count: of five VMs that booted on two CPUs, one
    took them for 951 instead of 2596 MHz, and its clock ran nearly three times too fast. It still measures, and takes
    what differs by less than 1 % (arch/x86/kernel/tsc.c).
    """
    if is_elsewhere(libvirt_uri) or not (mhz := tsc.counter_mhz()):
        return {}
    return {"tsc": "reliable", "tsc_early_khz": str(mhz * 1000)}


def virtualization(spec: Spec, image: VmImage) -> Virtualization:
    """How the VMs run: as configured; else as the environment says that was found out; else as is found out now.

    Of another machine that cannot be: one that is there to run VMs has KVM.
    """
    if spec.virtualization is not Virtualization.AUTO:
        return spec.virtualization
    if is_elsewhere(spec.libvirt_uri):
        return Virtualization.KVM
    if found := os.environ.get("HARDWAY_VIRTUALIZATION"):
        return Virtualization(found)
    serves = kvm.works(image.kernel, default_folder()) if image.kernel else os.access(kvm.DEVICE, os.R_OK | os.W_OK)
    return Virtualization.KVM if serves else Virtualization.QEMU


@dataclass(frozen=True, kw_only=True)
class HypervisorArgs:
    """spec: the lab. image: what its VMs start from."""

    spec: Spec
    image: VmImage


class Hypervisor(pulumi.ComponentResource):
    """A storage pool with the base image, and a network that gives every node the address of the spec.

    The network may be one that is there already: it learns the addresses of the nodes, and stays as it is else. All of
    it comes back by itself when the host reboots. The image is what a lab was born with: a newer one is for
    machines of a new lab, and never replaces those that run. One that the configuration names instead does.
    """

    def __init__(self, name: str, args: HypervisorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:hypervisor:Hypervisor", name, None, opts)
        self._spec, self._virtualization = args.spec, virtualization(args.spec, args.image)
        self._provider = libvirt.Provider(
            f"{name}-libvirt", uri=args.spec.libvirt_uri, opts=pulumi.ResourceOptions(parent=self)
        )
        self._pool = libvirt.Pool(
            f"{name}-pool",
            name=args.spec.name,
            type="dir",
            target=libvirt.PoolTargetArgs(path=f"{POOLS}/{args.spec.name}"),
            opts=self._options(),
        )
        self._network = None if args.spec.network else self._make_network(f"{name}-network")
        self._image = args.image
        self._base = self._volume(f"{name}-base{_mark(args.spec.image)}", args.image.disk)
        self._kernel = self._volume(f"{name}-kernel", args.image.kernel) if args.image.kernel else None
        self._initrd = self._volume(f"{name}-initrd", args.image.initrd) if args.image.initrd else None
        network = self._network.name if self._network else args.spec.network
        self.register_outputs({"network": network, "pool": self._pool.name})

    def machine(
        self, node: Node, user_data: pulumi.Input[str], parent: pulumi.Resource
    ) -> tuple[pulumi.CustomResource, pulumi.CustomResource]:
        """The VM of a node and its disk: over the base image, with what cloud-init is to know.

        The VM can be named in `deleted_with`: what is inside is gone with it.
        """
        assert isinstance(node.machine, VmSize), f"{node.name} is no VM"
        disk = libvirt.Volume(
            f"{node.name}-disk",
            name=f"{node.name}.qcow2",
            pool=self._pool.name,
            base_volume_id=self._base.id,
            size=node.machine.disk * GIB,
            # Who has another address is another machine; the provider would leave the VM with its address, and its
            # network away under it. The new disk has the name of the old one.
            opts=self._options(parent, replacement_trigger=str(node.address), delete_before_replace=True),
        )
        seed = libvirt.CloudInitDisk(
            f"{node.name}-cloud-init",
            name=f"{node.name}-cloud-init.iso",
            pool=self._pool.name,
            user_data=user_data,
            meta_data=f"instance-id: {node.name}\nlocal-hostname: {node.name}\n",
            # The successor has the same name, so there is no room for it before.
            opts=self._options(parent, delete_before_replace=True),
        )
        domain = libvirt.Domain(
            f"{node.name}-domain",
            name=f"{self._spec.name}-{node.name}",
            type=str(self._virtualization),
            cpu=libvirt.DomainCpuArgs(
                mode="host-passthrough" if self._virtualization is Virtualization.KVM else "maximum"
            ),
            vcpu=node.machine.vcpus,
            memory=node.machine.memory,
            kernel=self._kernel.id if self._kernel else None,
            initrd=self._initrd.id if self._initrd else None,
            cmdlines=self._command_lines(),
            # cloud-init's volume as a disk: Debian's cloud kernel has no driver for a CD-ROM drive.
            disks=[
                libvirt.DomainDiskArgs(volume_id=disk.id),
                libvirt.DomainDiskArgs(volume_id=seed.id.apply(lambda key: key.partition(";")[0])),
            ],
            network_interfaces=[
                libvirt.DomainNetworkInterfaceArgs(
                    network_id=self._network.id if self._network else None,
                    network_name=self._spec.network,
                    hostname=_reserved_name(node),
                    addresses=[str(node.address)],
                    mac=mac_address(node),
                    wait_for_lease=False,
                )
            ],
            # The plugin's default is Spice, which Debian 13's QEMU does not have. At a TCP port, anybody on the host
            # could have the screen.
            graphics=libvirt.DomainGraphicsArgs(type="vnc", listen_type="socket"),
            consoles=[libvirt.DomainConsoleArgs(type="pty", target_type="serial", target_port="0")],
            autostart=True,
            # The provider reads back leases for addresses, and there are none before the VM has booted.
            # Another address is another disk too, and that replaces the VM.
            opts=self._options(parent, delete_before_replace=True, ignore_changes=["networkInterfaces[0].addresses"]),
        )
        return domain, disk

    def _make_network(self, name: str) -> libvirt.Network:
        return libvirt.Network(
            name,
            name=self._spec.name,
            mode="nat",
            domain=self._spec.domain,
            addresses=[str(self._spec.networks.network_cidr)],
            dhcp=libvirt.NetworkDhcpArgs(enabled=True),
            dns=libvirt.NetworkDnsArgs(enabled=True, hosts=self._whole_names() or None),
            autostart=True,
            opts=self._options(),
        )

    def _whole_names(self) -> list[libvirt.NetworkDnsHostArgs]:
        """What the network's DNS answers besides the names of its own domain; it learns these as nodes come and go."""
        return [
            libvirt.NetworkDnsHostArgs(hostname=node.name, ip=str(node.address))
            for node in self._spec.virtual_machines
            if "." in node.name
        ]

    def _command_lines(self) -> list[dict[str, str]] | None:
        """The kernel's command line, where it is not a boot loader's matter."""
        if not self._image.command_line:
            return None
        if self._virtualization is not Virtualization.QEMU:
            return [dict(self._image.command_line)]
        # The provider wants words without a value by themselves, under this name.
        told = EMULATED_CPU | emulated_clock(self._spec.libvirt_uri)
        return [{**self._image.command_line, **told}, {"_": " ".join(EMULATED_CPU_FLAGS)}]

    def _volume(self, name: str, source: Path) -> libvirt.Volume:
        return libvirt.Volume(
            name, name=name, pool=self._pool.name, source=str(source), opts=self._options(ignore_changes=["source"])
        )

    def _options(self, parent: pulumi.Resource | None = None, **others: object) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=parent or self, provider=self._provider, **others)  # type: ignore[arg-type]


def _mark(image: str | None) -> str:
    """What tells the volume of a configured image from those of others, whose disks would not boot as it does."""
    return f"-{hashlib.sha256(image.encode()).hexdigest()[:8]}" if image else ""


def _reserved_name(node: Node) -> str:
    """The name under which an address is reserved, which the network's DNS answers to once it is given out.

    dnsmasq takes one of its own domain alone and cuts any other domain off: of node-0.example.com and node-0 one would
    be found by the other's name. A node with a domain is answered for by an entry of its own, see `_whole_names`.
    """
    return f"vm-{mac_address(node).replace(':', '')}" if "." in node.name else node.name


def mac_address(node: Node) -> str:
    """A MAC address that follows from the node's address, so that a reservation outlives the VM.

    52:54:00 is the prefix that QEMU's own addresses have.
    """
    return "52:54:00:" + ":".join(f"{octet:02x}" for octet in node.address.packed[1:])
