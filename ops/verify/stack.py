"""What the stack says: the lab as its outputs tell it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from host.access.ssh import Login, known_host


class StackError(Exception):
    """The stack does not say what its nodes are to be like. The message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """login: how it is reached. services: the SHA-256 of each one's manifest, by name.

    kubernetes_version: empty where the stack does not say it. taints: each as kubectl spells it.
    """

    role: str
    login: Login
    services: Mapping[str, str]
    kubernetes_version: str
    labels: Mapping[str, str]
    taints: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """nodes: by name. kubeconfig: the administrator's, as text, None where the lab has none."""

    nodes: Mapping[str, Node]
    kubeconfig: str | None


def parse(outputs: Mapping[str, Any]) -> Stack:
    """The stack of these outputs, secrets in plain text.

    Raises StackError where some are not there: the lab was never brought up, or by an older program.
    """
    missing = [name for name in ("nodes", "services", "sshKey", "knownHosts") if name not in outputs]
    if missing:
        raise StackError(f"the stack has no output {', '.join(missing)}; bring the lab up first: pulumi up")
    host_keys = dict(line.split(maxsplit=1) for line in outputs["knownHosts"].splitlines() if line.strip())
    nodes = {}
    for name, node in outputs["nodes"].items():
        port = node.get("port", 22)
        host = known_host(node["address"], port)
        if host not in host_keys:
            raise StackError(f"the stack's output knownHosts has no host key of {name}; run pulumi up")
        nodes[name] = Node(
            role=node["role"],
            login=Login(
                address=node["address"],
                key=outputs.get("machineKeys", {}).get(name, outputs["sshKey"]),
                host_key=host_keys[host],
                user=node.get("user", "root"),
                port=port,
            ),
            services=outputs["services"].get(name, {}),
            kubernetes_version=node.get("kubernetesVersion", ""),
            labels=node.get("labels", {}),
            taints=node.get("taints", []),
        )
    return Stack(nodes=nodes, kubeconfig=outputs.get("kubeconfig"))
