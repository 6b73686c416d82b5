"""Who may do what in a cluster, as objects of its API."""

from typing import Any

API_GROUP = "rbac.authorization.k8s.io"


def cluster_role_binding(name: str, role: str, subject: dict[str, Any]) -> dict[str, Any]:
    """What gives the subject a ClusterRole everywhere."""
    return {
        "apiVersion": f"{API_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": API_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def user(name: str) -> dict[str, Any]:
    """A user as the subject of a binding."""
    return {"apiGroup": API_GROUP, "kind": "User", "name": name}


def group(name: str) -> dict[str, Any]:
    """A group as the subject of a binding."""
    return {"apiGroup": API_GROUP, "kind": "Group", "name": name}
