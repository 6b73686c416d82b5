"""Renders a lab: every node's services, packages and user-data, before any resource exists."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from lab.node import load_balancer
from lab.node.bootstrap import token_id
from lab.node.configured_files import with_configured_files
from lab.node.control_plane import control_plane_services, etcd_member_command
from lab.node.encryption import finish_command
from lab.node.node_setup import NODE_SETUP, claim, node_setup, user_data
from lab.node.service import Artifact, Service, hide_secrets
from lab.node.worker import pod_services
from lab.pki import Identity, identities
from lab.spec import ExistingMachine, Node, Role, Spec


@dataclass(frozen=True, kw_only=True)
class EtcdMembership:
    """Shell commands for the membership of a control plane's etcd.

    Attributes:
        announce: Tells another control plane that this member has no data yet.
        leave: Removes the member from the etcd cluster.
        cluster: Prints the ID of the etcd cluster. A cluster whose data is lost is founded again with another ID.
    """

    announce: str
    leave: str
    cluster: str


@dataclass(frozen=True, kw_only=True)
class RenderedNode:
    """Everything that a node gets.

    Attributes:
        node: The node.
        services: Services of the node, each after the services that it needs.
        packages: Debian packages that the node needs in addition to those of every node.
        user_data: Keys of the user-data that the node itself reads.
        claim: Arguments of `assets/node/machine claim` for an existing machine; empty for a VM.
        etcd: Commands for the node's etcd member; None for a worker.
        finish_encryption: Command that ends a change of the keys for objects in etcd; empty for a worker.
        token_id: ID of the bootstrap token that the node needs until it is registered; empty without one.
    """

    node: Node
    services: tuple[Service, ...]
    packages: tuple[str, ...] = ()
    user_data: Mapping[str, Any] = field(default_factory=dict)
    claim: tuple[str, ...] = ()
    etcd: EtcdMembership | None = None
    finish_encryption: str = ""
    token_id: str = ""

    @property
    def artifacts(self) -> frozenset[Artifact]:
        """Binaries and images that the node needs."""
        return frozenset(artifact for service in self.services for artifact in service.artifacts)


@dataclass(frozen=True, kw_only=True)
class RenderedLab:
    """Everything that the nodes of a lab get.

    Attributes:
        nodes: Node name to rendered node, control planes first.
        identities: Certificate name to the identity that it is issued for.
    """

    nodes: Mapping[str, RenderedNode]
    identities: Mapping[str, Identity]

    @cached_property
    def artifacts(self) -> frozenset[Artifact]:
        """Binaries and images that at least one node needs."""
        return frozenset().union(*(node.artifacts for node in self.nodes.values()))


def render(spec: Spec) -> RenderedLab:
    """Return everything that the nodes of a lab get."""
    return RenderedLab(nodes={node.name: _render_node(spec, node) for node in spec.nodes}, identities=identities(spec))


def _render_node(spec: Spec, node: Node) -> RenderedNode:
    is_control_plane = node.role is Role.CONTROL_PLANE
    return RenderedNode(
        node=node,
        services=services_of(spec, node),
        packages=packages_of(spec, node),
        user_data=user_data(spec, node),
        claim=claim(spec, node) if isinstance(node.machine, ExistingMachine) else (),
        etcd=(
            EtcdMembership(
                announce=etcd_member_command("new", node),
                leave=etcd_member_command("leave", node),
                cluster=etcd_member_command("cluster", node),
            )
            if is_control_plane
            else None
        ),
        finish_encryption=finish_command(spec) if is_control_plane else "",
        token_id=token_id(node.name) if spec.tls_bootstrap and not spec.join else "",
    )


def services_of(spec: Spec, node: Node) -> tuple[Service, ...]:
    """Return the services of one node, each after the services that it needs."""
    services = with_configured_files(_services(spec, node), node)
    if spec.confirm_within is not None:
        # It brings the time for a confirmation, which counts for all others.
        services = [
            each if each.name == NODE_SETUP else replace(each, needs=(NODE_SETUP, *each.needs)) for each in services
        ]
    return tuple(hide_secrets(service, spec.secrets) for service in services)


def _services(spec: Spec, node: Node) -> Iterator[Service]:
    yield node_setup(spec, node)
    if node.role is Role.CONTROL_PLANE:
        yield from control_plane_services(spec, node)
    if node.pod_cidr:
        yield from pod_services(spec, node)


def packages_of(spec: Spec, node: Node) -> tuple[str, ...]:
    """Return the Debian packages that one node needs in addition to those of every node."""
    return load_balancer.PACKAGES if node.role is Role.CONTROL_PLANE and spec.api_address else ()
