"""The data of a single control plane's etcd, which outlives its VM."""

from dataclasses import dataclass

import pulumi

from components import local
from components.connection import interpreter
from components.machine import Machine


@dataclass(frozen=True, kw_only=True)
class EtcdDataArgs:
    """Arguments of `etcd_data`.

    Attributes:
        node: Name of the control plane.
        machine: Its machine, a VM.
    """

    node: str
    machine: Machine


def etcd_data(name: str, args: EtcdDataArgs, opts: pulumi.ResourceOptions) -> pulumi.CustomResource:
    """Save the data of etcd before the VM is recreated, and restore it on the new VM before etcd starts.

    With several control planes, the others have the data. If it cannot be saved, the VM stays. A deleted lab needs no
    data: see `components.keep_etcd_data`.
    """
    vm = args.machine.vm
    assert vm, f"{args.node} is a VM"
    program = f"{interpreter()} -m components.keep_etcd_data"
    return local.run(
        name,
        create=f"{program} restore",
        delete=f"{program} save",
        environment={"HARDWAY_NODE": args.node, "HARDWAY_STACK": pulumi.get_stack()},
        stdin=pulumi.Output.json_dumps(vars(args.machine.login)),
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                depends_on=[args.machine.connection.ready],
                replace_with=vm.resources,
                delete_before_replace=True,
            ),
        ),
    )
