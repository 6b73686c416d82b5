"""The rendered nodes of a lab, as `render` and `explain` use them."""

from collections.abc import Mapping

from lab.node import render
from lab.node.service import Service
from lab.spec import Node, Spec


def node_services(spec: Spec, node: Node) -> tuple[Service, ...]:
    """Return the services of a node, each after the services that it needs."""
    return render.services_of(spec, node)


def rendered_services(spec: Spec) -> Mapping[str, tuple[Service, ...]]:
    """Return the services of every node, by the node's name."""
    return {node.name: node_services(spec, node) for node in spec.nodes}
