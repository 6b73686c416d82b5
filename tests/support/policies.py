"""NetworkPolicies for tests."""

from typing import Any


def policy(
    name: str, namespace: str, app: str | None = None, port: int | None = None, **directions: Any
) -> dict[str, Any]:
    """Return a NetworkPolicy for the pods of an app, or for all pods of the namespace.

    Args:
        name: The name of the policy.
        namespace: The namespace of the policy.
        app: The label `app` of the pods.
        port: The only TCP port that the policy allows. None allows all ports.
        directions: `ingress` or `egress`, each with the allowed peers.
    """
    peers = {"ingress": "from", "egress": "to"}
    ports = {"ports": [{"protocol": "TCP", "port": port}]} if port else {}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}} if app else {},
            "policyTypes": [direction.title() for direction in directions],
            **{
                direction: [{peers[direction]: [peer], **ports} for peer in allowed]
                for direction, allowed in directions.items()
            },
        },
    }
