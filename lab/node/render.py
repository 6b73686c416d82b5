"""The services of a node, by what the node is for."""

from collections.abc import Iterator

from lab.node import load_balancer
from lab.node.control_plane import control_plane_services
from lab.node.node_setup import node_setup
from lab.node.service import Binary, Image, Service
from lab.node.worker import pod_services
from lab.spec import Node, Role, Spec


def services_of(spec: Spec, node: Node) -> tuple[Service, ...]:
    """Everything that runs on a node, each service after those that it needs."""
    return tuple(_services(spec, node))


def _services(spec: Spec, node: Node) -> Iterator[Service]:
    yield node_setup(spec, node)
    if node.role is Role.CONTROL_PLANE:
        yield from control_plane_services(spec, node)
    if node.pod_cidr:
        yield from pod_services(spec, node)


def packages_of(spec: Spec, node: Node) -> tuple[str, ...]:
    """The Debian packages that a node needs besides those that every node needs, each named as its command."""
    return load_balancer.PACKAGES if node.role is Role.CONTROL_PLANE and spec.api_address else ()


def artifacts_of(spec: Spec) -> set[Binary | Image]:
    """Every binary and image that some node of the lab needs."""
    return {artifact for node in spec.nodes for service in services_of(spec, node) for artifact in service.artifacts}
