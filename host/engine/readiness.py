"""The readiness of the nodes in an API server."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from system.commands import attempt

_TIMEOUT = 10
"""Seconds in which the API server must list its nodes."""


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


def registered_nodes(kubeconfig: Path) -> frozenset[str] | None:
    """Return the names of the nodes in the API server.

    Args:
        kubeconfig: An administrator's kubeconfig.

    Returns:
        None if the API server does not answer or cannot be reached from here.
    """
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "get", "nodes", "--output=json"]
    try:
        answer = attempt([*command, f"--request-timeout={_TIMEOUT}s"], timeout=2 * _TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    return frozenset(item["metadata"]["name"] for item in json.loads(answer.stdout)["items"])
