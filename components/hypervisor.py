"""libvirt: the network, storage and VMs of a lab. No other module uses pulumi-libvirt."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_libvirt as libvirt

from components.gate import Gate
from components.vm_rollout import VmRollout
from host.libvirt.placement import is_elsewhere
from host.machine import kvm, tsc
from lab.spec import Host, Node, Spec, Virtualization, VmSize
from toolchain.cache import default_folder
from toolchain.vm_image import VmImage

POOLS = "/var/lib/libvirt/images"
PROVIDER_SUFFIX = "-libvirt"
"""The end of the name of a provider, after that of its `Hypervisor`."""
GIB = 1024**3
EMULATED_CPU = {
    # An emulated CPU does not speculate. The mitigations would take a fifth of the boot time.
    "mitigations": "off",
    # smap, smep, umip and pku protect the kernel's memory against its own bugs. The kernel switches them at every copy
    # from or to a program, and each switch leaves the translated code. Real CPUs run the string instructions of erms
    # fast, but QEMU copies byte by byte.
    "clearcpuid": "smap,smep,umip,pku,erms,rep_good",
    # The kernel clears memory anyway before a program gets it. This would also clear the kernel's own allocations.
    "init_on_alloc": "0",
    # QEMU caches only the used small pages of a huge page, and drops the whole cache when it evicts one of them.
    "transparent_hugepage": "never",
}
"""Kernel parameters for an emulated CPU."""

EMULATED_CPU_FLAGS = (
    # Every level of the page tables is a step in every page lookup.
    "no5lvl",
    # QEMU 7.2 translates a program again for every address that the program is loaded at. Always at the same address,
    # a small program runs in a third of the time.
    "norandmaps",
)
"""Kernel parameters without a value for an emulated CPU."""

EMULATED_BOOT_FLAGS = (
    # At its start, the kernel tests for 40 ms if timer interrupts arrive, and panics without them ("IO-APIC + timer
    # doesn't work"). On a busy host an emulated CPU may not run for that long.
    "no_timer_check",
)
"""Further kernel parameters without a value for an emulated CPU. VMs of earlier versions do not have them.

The provider reads a word with `=` back as another entry, and would then recreate the VM.
"""


EMULATION_SLOWDOWN = 4
"""Factor by which services on an emulated VM may take longer to become healthy.

The same start of kube-apiserver was seen to take from 20 to 150 seconds on an emulated CPU, because emulation depends
on the host's caches, and other machines use them, too.
"""


def emulated_clock(libvirt_uri: str) -> dict[str, str]:
    """Return the kernel parameters for the clock of an emulated CPU; none if libvirt runs on another machine.

    All emulated CPUs count the ticks of the host's counter. The kernel cannot know that and would read the time from a
    device, which leaves the emulated code each time. Nor can the kernel measure the frequency reliably: of five VMs
    that booted on two CPUs, one measured 951 instead of 2596 MHz, and its clock ran nearly three times too fast. With
    the parameter the kernel still measures, and accepts a value that differs by less than 1 %
    (arch/x86/kernel/tsc.c).
    """
    if is_elsewhere(libvirt_uri) or not (mhz := tsc.counter_mhz()):
        return {}
    return {"tsc": "reliable", "tsc_early_khz": str(mhz * 1000)}


def virtualization(host: Host, image: VmImage) -> Virtualization:
    """Return the configured mode of a host, else the one in the environment, else the result of a test of KVM.

    KVM on another machine cannot be tested. A machine that runs VMs normally has it.
    """
    if host.virtualization is not Virtualization.AUTO:
        return host.virtualization
    if is_elsewhere(host.uri):
        return Virtualization.KVM
    if found := os.environ.get("HARDWAY_VIRTUALIZATION"):
        return Virtualization(found)
    serves = kvm.works(image.kernel, default_folder()) if image.kernel else os.access(kvm.DEVICE, os.R_OK | os.W_OK)
    return Virtualization.KVM if serves else Virtualization.QEMU


@dataclass(frozen=True, kw_only=True)
class HypervisorArgs:
    """Arguments of `Hypervisor`.

    Attributes:
        spec: The lab.
        host: The machine that runs the VMs.
        image: Image that the VMs start from.
        command_lines: Kernel command line of each existing VM by its name in libvirt.
        gate: Keeps changes of the pool, the network and all VMs back.
    """

    spec: Spec
    host: Host
    image: VmImage
    command_lines: Mapping[str, str]
    gate: Gate


@dataclass(frozen=True, kw_only=True)
class Vm:
    """The resources of a VM.

    Attributes:
        disk: Its disk.
        seed: Its volume for cloud-init.
        domain: The VM itself, suitable for `deleted_with`, because its contents are deleted with it.
    """

    disk: pulumi.CustomResource
    seed: pulumi.CustomResource
    domain: pulumi.CustomResource

    @property
    def resources(self) -> list[pulumi.Resource]:
        """The resources whose replacement means a new VM."""
        return [self.disk, self.seed, self.domain]


class Hypervisor(pulumi.ComponentResource):
    """A host of VMs: a storage pool with the base image, and a network that gives every node its address.

    An existing network learns the addresses of the nodes and is otherwise unchanged. Everything starts again when the
    host reboots. A newer version of the lab's own image is only for new labs and never replaces VMs. Another image in
    the configuration does replace them.

    Attributes:
        slowdown: Factor by which services on its VMs may take longer than elsewhere.
    """

    def __init__(self, name: str, args: HypervisorArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:hypervisor:Hypervisor", name, None, opts)
        self._spec, self._host = args.spec, args.host
        self._virtualization = virtualization(args.host, args.image)
        self.slowdown = EMULATION_SLOWDOWN if self._virtualization is Virtualization.QEMU else 1
        self._provider = libvirt.Provider(
            f"{name}{PROVIDER_SUFFIX}", uri=args.host.uri, opts=pulumi.ResourceOptions(parent=self)
        )
        self._pool = libvirt.Pool(
            f"{name}-pool",
            name=args.gate.hold(pool_name(args.spec, args.host)),
            type="dir",
            target=libvirt.PoolTargetArgs(path=f"{POOLS}/{pool_name(args.spec, args.host)}"),
            opts=self._options(),
        )
        self._network = None if args.spec.network else self._create_network(f"{name}-network", args.gate)
        self._image, self._existing = args.image, args.command_lines
        self._base = self._volume(f"{name}-base{_image_suffix(args.spec.image)}", args.image.disk)
        self._kernel = self._volume(f"{name}-kernel", args.image.kernel) if args.image.kernel else None
        self._initrd = self._volume(f"{name}-initrd", args.image.initrd) if args.image.initrd else None
        network = self._network.name if self._network else args.spec.network
        self.register_outputs({"network": network, "pool": self._pool.name})

    def machine(
        self,
        node: Node,
        user_data: pulumi.Input[str],
        rollout: VmRollout,
        parent: pulumi.Resource,
        hooks: pulumi.ResourceHookBinding | None,
    ) -> Vm:
        """Create the VM of a node.

        Args:
            node: The node.
            user_data: User-data for cloud-init; secret.
            rollout: Tells when the engine may see the VM.
            parent: Parent of the resources.
            hooks: Hooks of the domain; None for none.
        """
        assert isinstance(node.machine, VmSize), f"{node.name} is no VM"
        pool = rollout.in_turn(vm_name(self._spec, node), self._pool.name)
        disk = self._create_disk(node, node.machine, pool, parent)
        seed = libvirt.CloudInitDisk(
            f"{node.name}-cloud-init",
            name=f"{node.name}-cloud-init.iso",
            pool=pool,
            user_data=user_data,
            meta_data=f"instance-id: {node.name}\nlocal-hostname: {node.name}\n",
            # The replacement has the same name, so both cannot exist at the same time.
            opts=self._options(parent, delete_before_replace=True),
        )
        # The volume for cloud-init is a disk, because Debian's cloud kernel has no driver for a CD-ROM drive.
        disks = [disk.id, seed.id.apply(lambda key: key.partition(";")[0])]
        return Vm(disk=disk, seed=seed, domain=self._create_domain(node, node.machine, disks, parent, hooks))

    def _create_disk(
        self, node: Node, size: VmSize, pool: pulumi.Input[str], parent: pulumi.Resource
    ) -> libvirt.Volume:
        return libvirt.Volume(
            f"{node.name}-disk",
            name=f"{node.name}.qcow2",
            pool=pool,
            base_volume_id=self._base.id,
            size=size.disk * GIB,
            # A node with a new address is a new machine. The provider would change the network under the running VM,
            # which would keep its old address. The new disk has the name of the old one.
            opts=self._options(parent, replacement_trigger=str(node.address), delete_before_replace=True),
        )

    def _create_domain(
        self,
        node: Node,
        size: VmSize,
        disks: Sequence[pulumi.Input[str]],
        parent: pulumi.Resource,
        hooks: pulumi.ResourceHookBinding | None,
    ) -> libvirt.Domain:
        is_kvm = self._virtualization is Virtualization.KVM
        return libvirt.Domain(
            f"{node.name}-domain",
            name=vm_name(self._spec, node),
            # The hook of the private libvirt reads it.
            description=str(node.role),
            type=str(self._virtualization),
            cpu=libvirt.DomainCpuArgs(mode="host-passthrough" if is_kvm else "maximum"),
            vcpu=size.vcpus,
            memory=size.memory,
            kernel=self._kernel.id if self._kernel else None,
            initrd=self._initrd.id if self._initrd else None,
            cmdlines=self._command_lines(vm_name(self._spec, node)),
            disks=[libvirt.DomainDiskArgs(volume_id=disk) for disk in disks],
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
            # The plugin's default is Spice, which QEMU of Debian 13 lacks. On a TCP port, everybody on the host could
            # use the screen.
            graphics=libvirt.DomainGraphicsArgs(type="vnc", listen_type="socket"),
            consoles=[libvirt.DomainConsoleArgs(type="pty", target_type="serial", target_port="0")],
            autostart=True,
            # The provider reads leases as the addresses, and there are none before the VM has booted. A new address
            # also means a new disk, which replaces the VM. Another description replaces the VM, too, and VMs of earlier
            # versions have none.
            opts=self._options(
                parent,
                hooks=hooks,
                delete_before_replace=True,
                ignore_changes=["networkInterfaces[0].addresses", "description"],
            ),
        )

    def _create_network(self, name: str, gate: Gate) -> libvirt.Network:
        return libvirt.Network(
            name,
            name=gate.hold(self._spec.name),
            mode="nat",
            domain=self._spec.domain,
            addresses=[str(self._spec.networks.network_cidr)],
            dhcp=libvirt.NetworkDhcpArgs(enabled=True),
            dns=libvirt.NetworkDnsArgs(enabled=True, hosts=self._dns_hosts() or None),
            autostart=True,
            opts=self._options(),
        )

    def _dns_hosts(self) -> list[libvirt.NetworkDnsHostArgs]:
        """Return DNS entries for nodes whose names have a domain. The network learns all other names by itself."""
        return [
            libvirt.NetworkDnsHostArgs(hostname=node.name, ip=str(node.address))
            for node in self._spec.virtual_machines
            if "." in node.name
        ]

    def _command_lines(self, vm: str) -> list[dict[str, str]] | None:
        """Return the kernel's command line; None if a boot loader has it.

        An existing VM keeps its own, because another one would recreate it.
        """
        if not self._image.command_line:
            return None
        if self._virtualization is not Virtualization.QEMU:
            return [dict(self._image.command_line)]
        emulation = EMULATED_CPU | emulated_clock(self._host.uri)
        # The provider expects words without a value in a separate entry under this name.
        existing = self._existing.get(vm)
        later = (flag for flag in EMULATED_BOOT_FLAGS if existing is None or flag in existing.split())
        return [{**self._image.command_line, **emulation}, {"_": " ".join((*EMULATED_CPU_FLAGS, *later))}]

    def _volume(self, name: str, source: Path) -> libvirt.Volume:
        return libvirt.Volume(
            name, name=name, pool=self._pool.name, source=str(source), opts=self._options(ignore_changes=["source"])
        )

    def _options(self, parent: pulumi.Resource | None = None, **others: object) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=parent or self, provider=self._provider, **others)  # type: ignore[arg-type]


def hypervisor_name(spec: Spec, host: Host) -> str:
    """Return the name of the `Hypervisor` of a host. Without `hosts`, there is only one."""
    return f"{spec.name}-hypervisor-{host.name}" if host.name else f"{spec.name}-hypervisor"


def pool_name(spec: Spec, host: Host) -> str:
    """Return the name of the storage pool on a host.

    It has the name of the host, because the engine does not replace a resource that only gets another provider: it
    would believe that the disk is on the other host. The plugin replaces a volume with another pool.
    """
    return f"{spec.name}-{host.name}" if host.name else spec.name


def vm_name(spec: Spec, node: Node) -> str:
    """Return the name of a node's VM in libvirt."""
    return f"{spec.name}-{node.name}"


def _image_suffix(image: str | None) -> str:
    """Return a suffix that distinguishes volumes of different configured images. Their disks boot differently."""
    return f"-{hashlib.sha256(image.encode()).hexdigest()[:8]}" if image else ""


def _reserved_name(node: Node) -> str:
    """Return the name for the DHCP reservation, which the network's DNS resolves as soon as the address is leased.

    dnsmasq accepts only its own domain and cuts off any other: node-0.example.com and node-0 would get the same name.
    A node with a domain has a separate DNS entry: see `_dns_hosts`.
    """
    return f"vm-{mac_address(node).replace(':', '')}" if "." in node.name else node.name


def mac_address(node: Node) -> str:
    """Return a MAC address derived from the node's address, so that a reservation outlives the VM.

    52:54:00 is QEMU's own prefix.
    """
    return "52:54:00:" + ":".join(f"{octet:02x}" for octet in node.address.packed[1:])
