"""The web servers to ask, from this machine and from nodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ops.probe.objects import PORT, SERVICE_PORT

OUTSIDE = "this machine"
"""Source of the requests that begin on this machine."""

PATH = "/index.html"


@dataclass(frozen=True, kw_only=True)
class WebServer:
    """A pod of the Deployment.

    Attributes:
        name: Name of the pod.
        node: Its node.
        address: Its IPv4 address.
    """

    name: str
    node: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Target:
    """An address that is asked from one place.

    Attributes:
        name: Description for a person.
        source: Node where the requests begin, or OUTSIDE.
        address: IPv4 address.
        port: TCP port.
        pod: Name of the pod, if the address is that of a pod. The target ends when the pod is deleted.
        is_optional: True if the target is left out when it does not answer before the measurement begins.
    """

    name: str
    source: str
    address: str
    port: int
    pod: str = ""
    is_optional: bool = False

    @property
    def is_inside(self) -> bool:
        """True if the requests begin on a node."""
        return self.source != OUTSIDE


def web_targets(
    nodes: Mapping[str, str], servers: Sequence[WebServer], service: str, node_port: int
) -> Iterator[Target]:
    """Yield the Service from each node, its node port at the nodes with a server, and each server from two places.

    Args:
        nodes: Addresses of the nodes that run pods, by name.
        servers: The pods.
        service: Address of the Service in the cluster.
        node_port: Port of the Service on every node.
    """
    for node in nodes:
        yield Target(name="Service", source=node, address=service, port=SERVICE_PORT)
    for server in servers:
        address = nodes[server.node]
        yield Target(name=f"Service, port of {server.node}", source=OUTSIDE, address=address, port=node_port)
    for server in servers:
        name = f"pod on {server.node}"
        other = next((node for node in nodes if node != server.node), server.node)
        yield Target(name=name, source=other, address=server.address, port=PORT, pod=server.name)
        # This machine needs a route to the pods, which not every lab gives it.
        yield Target(name=name, source=OUTSIDE, address=server.address, port=PORT, pod=server.name, is_optional=True)
