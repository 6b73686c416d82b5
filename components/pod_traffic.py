"""Rules about the addresses of pods and Services, on the machine that runs the VMs."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_command as command

from components import local
from components.host_routes import this_namespace
from host.libvirt.placement import is_elsewhere
from host.libvirt.private import BOOT_VARIABLE
from lab.node.units import ASSETS
from lab.spec import Spec
from system.netns import is_inside

BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
"""The kernel setting that sends bridged frames through the packet filter. It exists if br_netfilter is loaded."""


@dataclass(frozen=True, kw_only=True)
class PodTrafficArgs:
    """Arguments of `pod_traffic`.

    Attributes:
        spec: The lab.
        repair: A new value runs the command again.
    """

    spec: Spec
    repair: str = ""


def pod_traffic(name: str, args: PodTrafficArgs, opts: pulumi.ResourceOptions) -> command.local.Command | None:
    """Keep the addresses of pods and Services inside the lab's network, if the lab may change this machine as root.

    It may in the namespaces of a private libvirt, and with `hostRoutes`. Otherwise, the nodes still reject what nothing
    answers, but a kernel that filters bridged frames translates what nodes send to pods: a warning explains that.
    """
    spec = args.spec
    if not (is_inside() or spec.host_routes):
        if not all(is_elsewhere(host.uri) for host in spec.vms_by_host) and _filters_bridged_frames():
            pulumi.warn(
                f"This machine translates what nodes send to pods, because {BRIDGE_FILTER} is 1. Pods then see its "
                "address instead of the node's. Run: sudo sysctl net.bridge.bridge-nf-call-iptables=0. "
                "Or set hostRoutes: true, so that the lab adds a rule, which requires root."
            )
        return None
    # Relative to the project's folder, where it runs, so that a moved checkout shows no change.
    program = str((ASSETS / "host" / "pod-traffic").relative_to(ASSETS.parent))
    table, networks = f"hardway-{spec.name}", spec.networks
    ranges = (networks.gateway, networks.network_cidr, networks.cluster_cidr, networks.service_cidr)
    return local.run(
        name,
        create=shlex.join([program, "keep", table, *map(str, ranges), *(["own"] if is_inside() else [])]),
        delete=shlex.join([program, "release", table]),
        environment={BOOT_VARIABLE: this_namespace()} | ({"HARDWAY_REPAIR": args.repair} if args.repair else {}),
        opts=opts,
    )


def _filters_bridged_frames() -> bool:
    return BRIDGE_FILTER.exists() and BRIDGE_FILTER.read_text().strip() != "0"
