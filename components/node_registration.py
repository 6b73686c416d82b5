"""The registration of a node in the cluster: role, labels and taints when it joins, and its removal."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.connection import Connection, Script
from components.drain import registration_command
from components.machine import Machine
from lab.node.render import RenderedNode


@dataclass(frozen=True, kw_only=True)
class NodeRegistrationArgs:
    """Arguments of `node_registration`.

    Attributes:
        node: The node.
        connection: Connection to the node that registers it: see `lab.spec.Spec.administrator`.
        kubeconfig: Administrator's kubeconfig; secret. None if the connection is to the first control plane, which has
            one.
        outlives_machine: The connection is to the node itself.
        machine: Machine of the node. When its VM is recreated, the node leaves first and joins again.
        repair: A new value registers the node again, because its labels or taints differ.
        depends_on: Resources that must exist before the node is registered.
    """

    node: RenderedNode
    connection: Connection
    kubeconfig: pulumi.Output[str] | None
    outlives_machine: bool
    machine: Machine
    repair: str
    depends_on: Sequence[pulumi.Resource]


def node_registration(name: str, args: NodeRegistrationArgs, opts: pulumi.ResourceOptions) -> pulumi.CustomResource:
    """Give a node its role, labels and taints; drain it and delete its Node object when it leaves the lab.

    The kubeconfig stays on no node.
    """
    node = args.node.node
    labels = ",".join(f"{label}={value}" for label, value in sorted(node.labels.items()))
    taints = ",".join(map(str, node.taints))
    token_id = [args.node.token_id] if args.node.token_id else []
    return args.connection.run(
        name,
        Script(
            create=registration_command(
                args.kubeconfig, "join", node.name, node.role, labels, taints, str(node.pod_cidr), *token_id
            ),
            delete=registration_command(args.kubeconfig, "leave", node.name),
            stdin=args.kubeconfig,
            repair=args.repair,
            outlives_machine=args.outlives_machine,
        ),
        pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                depends_on=args.depends_on,
                replace_with=args.machine.vm.resources if args.machine.vm else None,
                delete_before_replace=True if args.machine.vm else None,
                # The name of the resource in labs of the version before.
                aliases=[pulumi.Alias(name=f"{node.name}-membership")],
            ),
        ),
    )
