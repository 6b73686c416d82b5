"""The services of a node, each after the services that it needs."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components.connection import Script
from components.drain import Drain
from components.etcd_membership import EtcdMembershipArgs, etcd_membership
from components.machine import Machine
from components.pki import Pki
from components.preview import RestartAnnouncement
from components.rollout import Rollout
from components.service import NodeService, NodeServiceArgs
from lab.node.render import RenderedNode
from lab.node.service import Artifact, Service
from lab.spec import Role


@dataclass(frozen=True, kw_only=True)
class NodeServicesArgs:
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
        drain: Drains the node before a kubelet change that ends its pods; None if no change does.
        waits_for: Service name to resources on other nodes that must exist before the service is applied.
        etcd_membership: Membership of the node's etcd; None for a worker.
        cluster: ID of the etcd cluster; None on the first control plane, which reads it from etcd, and if the lab
            joins a cluster.
        drift: Service name to a value that changes when the service was found to differ on the node.
        deferred: Names of services that are applied later, by `NodeServices.apply`.
    """

    node: RenderedNode
    machine: Machine
    pki: Pki
    digests: Mapping[Artifact, str]
    fingerprint_key: pulumi.Output[str]
    health_timeout: int
    announcement: RestartAnnouncement
    rollout: Rollout | None = None
    drain: Drain | None = None
    waits_for: Mapping[str, Sequence[pulumi.Resource]] = field(default_factory=dict)
    etcd_membership: EtcdMembershipArgs | None = None
    cluster: pulumi.Output[str] | None = None
    drift: Mapping[str, str] = field(default_factory=dict)
    deferred: Collection[str] = ()


class NodeServices(pulumi.ComponentResource):
    """Pushes the binaries that a node lacks, then applies its services one after the other.

    The type token names the role. An alias for the other role keeps the resource when the role changes. Otherwise,
    deleting the old role's resources would remove the services just created.

    Attributes:
        services: Services by name.
        cluster: ID of the etcd cluster; None if the lab joins a cluster.
    """

    def __init__(self, name: str, args: NodeServicesArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        self._name, self._args = name, args
        role, connection = args.node.node.role, args.machine.connection
        aliases = [pulumi.Alias(type_=_type_token(other)) for other in Role if other is not role]
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=aliases))
        super().__init__(_type_token(role), name, None, opts)
        self._child = child = pulumi.ResourceOptions(parent=self)
        artifacts = {artifact for service in args.node.services for artifact in service.artifacts}
        self._binaries = connection.push_binaries(
            f"{name}-binaries",
            {artifact: args.digests[artifact] for artifact in artifacts},
            child,
            repair=" ".join(f"{service}={token}" for service, token in sorted(args.drift.items())),
        )
        self._run_before: dict[str, pulumi.CustomResource] = {}
        if args.etcd_membership:
            self._run_before["etcd"] = etcd_membership(f"{name}-etcd-membership", args.etcd_membership, child)
        self.services: dict[str, NodeService] = {}
        self.cluster = args.cluster
        for service in args.node.services:
            if service.name not in args.deferred:
                self._apply(service, args.waits_for.get(service.name, ()))
            if service.name == "etcd" and self.cluster is None:
                self.cluster = self._read_cluster_id()
        self.register_outputs({})

    def apply(self, name: str, waits_for: Sequence[pulumi.Resource]) -> None:
        """Apply a deferred service, if the node has it, after resources on any node."""
        for service in self._args.node.services:
            if service.name == name:
                self._apply(service, waits_for)

    def _apply(self, service: Service, waits_for: Sequence[pulumi.Resource]) -> None:
        args, needed = self._args, [self.services[other].command for other in service.needs]
        self.services[service.name] = NodeService(
            f"{self._name}-{service.name}",
            NodeServiceArgs(
                node=self._name,
                service=service,
                connection=args.machine.connection,
                pki=args.pki,
                digests=args.digests,
                fingerprint_key=args.fingerprint_key,
                timeout=args.health_timeout * service.health_timeouts,
                announcement=args.announcement,
                rollout=args.rollout,
                drain=args.drain if service.name == "kubelet" else None,
                repair=args.drift.get(service.name, ""),
                cluster=self.cluster if service.follows_cluster else None,
                after=self._run_before.get(service.name),
                depends_on=[self._binaries, *needed, *waits_for],
            ),
            self._child,
        )

    def _read_cluster_id(self) -> pulumi.Output[str]:
        """Return the ID of the etcd cluster that the node's member belongs to.

        It is read again only on a new machine: only there can the cluster be a new one.
        """
        membership = self._args.node.etcd
        assert membership, f"{self._name} is a control plane"
        found = self._args.machine.connection.run(
            f"{self._name}-cluster",
            Script(create=membership.cluster),
            pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=[self.command("etcd")])),
        )
        return pulumi.Output.unsecret(found.stdout)

    def command(self, service: str) -> pulumi.Resource:
        """Return the command that ends when a service is healthy."""
        return self.services[service].command


def _type_token(role: Role) -> str:
    return f"hardway:node:{role.value.title().replace('-', '')}"
