"""Routes to the pods, on the machine that runs the VMs."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_command as command

from components import local
from host.libvirt.private import BOOT_VARIABLE, namespace_start
from lab.node.units import ASSETS
from lab.spec import Spec
from system.netns import NAMESPACE_VARIABLE


@dataclass(frozen=True, kw_only=True)
class HostRoutesArgs:
    """Arguments of `host_routes`.

    Attributes:
        spec: The lab.
        repair: A new value runs the command again.
    """

    spec: Spec
    repair: str = ""


def host_routes(name: str, args: HostRoutesArgs, opts: pulumi.ResourceOptions) -> command.local.Command:
    """Create a route to the pods of every node, in the lab or not, that the VMs' network reaches.

    The routes are deleted with the lab. They are created again if they were lost with their network namespace.
    """
    # Relative to the project's folder, where it runs, so that a moved checkout shows no change.
    program = str((ASSETS / "host" / "pod-routes").relative_to(ASSETS.parent))
    gateway = str(args.spec.networks.gateway)
    routes = [f"{route.pod_cidr},{route.address}" for route in args.spec.routes]
    return local.run(
        name,
        create=shlex.join([program, gateway, *routes]),
        delete=shlex.join([program, gateway]),
        environment={BOOT_VARIABLE: this_namespace()} | ({"HARDWAY_REPAIR": args.repair} if args.repair else {}),
        opts=opts,
    )


def this_namespace() -> str:
    """Identify this start of the network namespace that the program runs in."""
    outside = os.environ.get(NAMESPACE_VARIABLE)
    return namespace_start(Path(outside).parent if outside else None)
