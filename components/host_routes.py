"""Routes from the machine that carries the lab to the pods."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import pulumi
import pulumi_command as command

from components import local
from host.libvirt.private import HOLDER
from lab.node.units import ASSETS
from lab.spec import Spec
from system.netns import NAMESPACE_VARIABLE
from system.processes import boot_id


def host_routes(
    name: str, spec: Spec, *, parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource]
) -> command.local.Command:
    """Makes the routes, through each node on the VMs' network to its pods, be it of the lab or not.

    They go when the lab does, and are made again where they were lost with the network namespace that they are in.

    depends_on: what must be there before, so that the network is.
    """
    # Named from the project's folder, where it is run, so that a checkout that is moved shows no change.
    program = str((ASSETS / "host" / "pod-routes").relative_to(ASSETS.parent))
    gateway = str(spec.networks.gateway)
    routes = [f"{route.pod_cidr},{route.address}" for route in spec.routes]
    return local.run(
        name,
        create=shlex.join([program, gateway, *routes]),
        delete=shlex.join([program, gateway]),
        environment={"HARDWAY_BOOT": _started()},
        opts=pulumi.ResourceOptions(parent=parent, depends_on=list(depends_on)),
    )


def _started() -> str:
    """What tells one start of the network namespace that this runs in from others: the machine's, or a private one."""
    outside = os.environ.get(NAMESPACE_VARIABLE)
    return Path(outside).with_name(HOLDER).read_text().strip() if outside else boot_id()
