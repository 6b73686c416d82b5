"""The rendered nodes of a lab, as `render` and `explain` use them."""

from collections.abc import Mapping

from lab.node import render
from lab.node.service import Service
from lab.spec import Spec


def rendered_services(spec: Spec) -> Mapping[str, tuple[Service, ...]]:
    """Return the services of every node, by the node's name."""
    return {node.name: render.services_of(spec, node) for node in spec.nodes}
