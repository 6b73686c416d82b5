"""The services of a node, each after the services that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components.etcd_membership import EtcdMembershipArgs, etcd_membership
from components.machine import Machine
from components.pki import Pki
from components.preview import RestartAnnouncement
from components.rollout import Rollout
from components.service import NodeService, NodeServiceArgs
from lab.node.render import RenderedNode
from lab.node.service import Binary, Image
from lab.spec import Role


@dataclass(frozen=True, kw_only=True)
class NodeArgs:
    """Arguments of `NodeServices`.

    Attributes:
        node: The node.
        machine: Machine of the node.
        pki: Gives the credentials of the services.
        digests: SHA-256 of each binary and image.
        fingerprint_key: Key of the fingerprints of everything that contains a secret; secret.
        health_timeout: Seconds within which a service must be healthy.
        announcement: Reports in a preview what a change of a service does.
        rollout: Limits how many nodes restart a service at a time; None for no limit.
        waits_for: Service name to resources on other nodes that must exist before the service is applied.
        etcd_membership: Membership of the node's etcd; None for a worker.
        drift: Service name to a value that changes when the service was found to differ on the node.
    """

    node: RenderedNode
    machine: Machine
    pki: Pki
    digests: Mapping[Binary | Image, str]
    fingerprint_key: pulumi.Output[str]
    health_timeout: int
    announcement: RestartAnnouncement
    rollout: Rollout | None = None
    waits_for: Mapping[str, Sequence[pulumi.Resource]] = field(default_factory=dict)
    etcd_membership: EtcdMembershipArgs | None = None
    drift: Mapping[str, str] = field(default_factory=dict)


class NodeServices(pulumi.ComponentResource):
    """Pushes the binaries that a node lacks, then applies its services one after the other.

    The type token names the role. An alias for the other role keeps the resource when the role changes: recreated
    services would be removed again together with those of the former role.

    Attributes:
        services: Services by name.
    """

    def __init__(self, name: str, args: NodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        role, connection = args.node.node.role, args.machine.connection
        aliases = [pulumi.Alias(type_=_type_token(other)) for other in Role if other is not role]
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=aliases))
        super().__init__(_type_token(role), name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        artifacts = {artifact for service in args.node.services for artifact in service.artifacts}
        binaries = connection.push_binaries(
            f"{name}-binaries",
            {artifact: args.digests[artifact] for artifact in artifacts},
            child,
            repair=" ".join(f"{service}={token}" for service, token in sorted(args.drift.items())),
        )
        run_before: dict[str, pulumi.CustomResource] = {}
        if args.etcd_membership:
            run_before["etcd"] = etcd_membership(f"{name}-etcd-membership", args.etcd_membership, child)
        self.services: dict[str, NodeService] = {}
        for service in args.node.services:
            needed = [self.services[other].command for other in service.needs]
            self.services[service.name] = NodeService(
                f"{name}-{service.name}",
                NodeServiceArgs(
                    node=name,
                    service=service,
                    connection=connection,
                    pki=args.pki,
                    digests=args.digests,
                    fingerprint_key=args.fingerprint_key,
                    timeout=args.health_timeout,
                    announcement=args.announcement,
                    rollout=args.rollout,
                    repair=args.drift.get(service.name, ""),
                    after=run_before.get(service.name),
                    depends_on=[binaries, *needed, *args.waits_for.get(service.name, ())],
                ),
                child,
            )
        self.register_outputs({})

    def command(self, service: str) -> pulumi.Resource:
        """Return the command that ends when a service is healthy."""
        return self.services[service].command


def _type_token(role: Role) -> str:
    return f"hardway:node:{role.value.title().replace('-', '')}"
