"""The readiness of the nodes in an API server."""

from collections.abc import Mapping
from typing import Any


def ready_condition(node: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the condition Ready of a Node; empty if its kubelet never reported it."""
    conditions: Mapping[str, Mapping[str, str]] = {
        condition["type"]: condition for condition in node["status"].get("conditions", ())
    }
    return conditions.get("Ready", {})


def is_ready(node: Mapping[str, Any]) -> bool:
    """Return True if a Node is Ready."""
    return ready_condition(node).get("status") == "True"


def lacks_only_network(node: Mapping[str, Any]) -> bool:
    """Return True if a Node is not Ready only because it has no CNI plugin."""
    # The kubelet lists several reasons in brackets.
    return ready_condition(node).get("message", "").startswith("container runtime network not ready")
