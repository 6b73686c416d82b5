"""The readiness of the nodes in an API server."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from system.commands import attempt

_TIMEOUT = 10
"""Seconds in which the API server must list its nodes."""

_CREDENTIAL_TIMEOUT = 60
"""Seconds in which kubectl must get its credential. Sometimes a new certificate is signed for that."""

_METRICS_TIMEOUT = 60
"""Seconds in which the API server must report its metrics. On an emulated node, collecting them takes some of these."""


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


def registered_nodes(kubeconfig: Path) -> dict[str, Mapping[str, Any]] | None:
    """Return the Nodes in the API server by name.

    Args:
        kubeconfig: An administrator's kubeconfig.

    Returns:
        None if the API server does not answer or cannot be reached from here.
    """
    answer = _kubectl(kubeconfig, "get", "nodes", "--output=json")
    return {item["metadata"]["name"]: item for item in answer["items"]} if answer else None


def api_server_version(kubeconfig: Path) -> Mapping[str, Any] | None:
    """Return the API server's document at /version. None if it does not answer.

    Args:
        kubeconfig: An administrator's kubeconfig.
    """
    return _kubectl(kubeconfig, "get", "--raw=/version")


def api_server_metrics(kubeconfig: Path, path: str) -> str | None:
    """Return metrics of the API server in the text format of Prometheus. None if it does not answer.

    Args:
        kubeconfig: An administrator's kubeconfig.
        path: The path of the metrics.
    """
    return _output(kubeconfig, "get", f"--raw={path}", timeout=_METRICS_TIMEOUT)


def _kubectl(kubeconfig: Path, *arguments: str) -> Mapping[str, Any] | None:
    """Return the JSON document that kubectl prints. None if it fails."""
    text = _output(kubeconfig, *arguments, timeout=_TIMEOUT)
    document: Mapping[str, Any] | None = None if text is None else json.loads(text)
    return document


def _output(kubeconfig: Path, *arguments: str, timeout: int) -> str | None:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments, f"--request-timeout={timeout}s"]
    try:
        answer = attempt(command, timeout=2 * timeout + _CREDENTIAL_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
