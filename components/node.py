"""The services of a node, each after those that it needs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components.machine import Machine
from components.pki import Pki
from components.preview import RestartAnnouncement
from components.rollout import Rollout
from components.service import NodeService, NodeServiceArgs
from lab.node.service import Binary, Image, Service
from lab.spec import Node, Role


@dataclass(frozen=True, kw_only=True)
class NodeArgs:
    """node: which. machine: what carries it. services: what runs there.

    digests: SHA-256 of every binary and image. health_timeout: seconds. announcer: says in a preview what a change of a
    service does. rollout: how many nodes at a time may restart a service, None for as they come. waits_for: a service's
    name to what must be there before it is applied, besides what it needs on the node itself. precedents: a service's
    name to what makes, under the node, a command after whose every creation the service is applied. repairs: a
    service's name to what changes when the node was found to differ.
    """

    node: Node
    machine: Machine
    pki: Pki
    services: Sequence[Service]
    digests: Mapping[Binary | Image, str]
    health_timeout: int
    announcer: RestartAnnouncement
    rollout: Rollout | None = None
    waits_for: Mapping[str, Sequence[pulumi.Resource]] = field(default_factory=dict)
    precedents: Mapping[str, Callable[[pulumi.Resource], pulumi.CustomResource]] = field(default_factory=dict)
    repairs: Mapping[str, str] = field(default_factory=dict)


class NodeServices(pulumi.ComponentResource):
    """Everything that runs on a node: binaries that it lacks are brought there, then service after service applied.

    Its type says the role of the node, and under another role it is still the same: services that were made anew then
    would be removed again with those of the former role.
    """

    def __init__(self, args: NodeArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        node, connection = args.node, args.machine.connection
        aliases = [pulumi.Alias(type_=_type(role)) for role in Role if role is not node.role]
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(aliases=aliases))
        super().__init__(_type(node.role), node.name, None, opts)
        artifacts = {artifact for service in args.services for artifact in service.artifacts}
        binaries = connection.push_binaries(
            f"{node.name}-binaries",
            {artifact: args.digests[artifact] for artifact in artifacts},
            parent=self,
            repair=" ".join(f"{name}={repair}" for name, repair in sorted(args.repairs.items())),
        )
        self.services: dict[str, NodeService] = {}
        for service in args.services:
            needed = [self.services[name].command for name in service.needs]
            precedent = args.precedents.get(service.name)
            self.services[service.name] = NodeService(
                NodeServiceArgs(
                    node=node.name,
                    service=service,
                    connection=connection,
                    pki=args.pki,
                    digests=args.digests,
                    timeout=args.health_timeout,
                    announcer=args.announcer,
                    rollout=args.rollout,
                    repair=args.repairs.get(service.name, ""),
                    after=precedent(self) if precedent else None,
                    depends_on=[binaries, *needed, *args.waits_for.get(service.name, ())],
                ),
                parent=self,
            )
        self.register_outputs({})

    def command(self, service: str) -> pulumi.Resource:
        """What is done once a service is healthy."""
        return self.services[service].command


def _type(role: Role) -> str:
    return f"hardway:node:{role.value.title().replace('-', '')}"
