"""The membership of a control plane's etcd in the etcd cluster."""

from dataclasses import dataclass

import pulumi

from components.connection import Script
from components.machine import Machine
from lab.node.paths import PROGRAMS
from lab.node.render import EtcdMembership


@dataclass(frozen=True, kw_only=True)
class EtcdMembershipArgs:
    """Arguments of `etcd_membership`.

    Attributes:
        membership: Commands for the member.
        machine: Machine of the member.
        executor: Machine of another control plane, which runs the commands. The member's own in a lab with only one.
    """

    membership: EtcdMembership
    machine: Machine
    executor: Machine


def etcd_membership(name: str, args: EtcdMembershipArgs, opts: pulumi.ResourceOptions) -> pulumi.CustomResource:
    """Keep a membership for as long as the node is a control plane and its disk is the same.

    Another control plane removes the member before the machine is deleted, so that no vote is missing. (If only the
    service is removed and the machine stays, the service itself leaves the cluster earlier.) The membership is created
    before etcd starts, so that an interrupted creation is cleaned up too. It also tells the first control plane that
    the others have no data yet: see assets/node/etcd-member.
    """
    return args.executor.connection.run(
        name,
        Script(
            create=args.membership.announce,
            update="true",
            # If an interrupted run continues, this may already be another machine, without the program.
            delete=f"test ! -e {PROGRAMS}/etcd-member || {args.membership.leave}",
            # The cluster remembers the member, also when another machine replaces an existing one.
            outlives_machine=args.executor.vm is None,
        ),
        pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                depends_on=[args.machine.connection.ready],
                replace_with=[args.machine.vm.disk] if args.machine.vm else None,
                delete_before_replace=True if args.machine.vm else None,
            ),
        ),
    )
