"""RBAC objects: bindings of roles to users, groups and service accounts."""

from typing import Any

API_GROUP = "rbac.authorization.k8s.io"


def cluster_role_binding(name: str, role: str, subject: dict[str, Any]) -> dict[str, Any]:
    """Return a ClusterRoleBinding.

    Args:
        name: The name of the binding.
        role: The name of the ClusterRole.
        subject: The subject, for example a result of `user` or `group`.
    """
    return {
        "apiVersion": f"{API_GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": API_GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }


def role_binding(name: str, namespace: str, role: str, subject: dict[str, Any]) -> dict[str, Any]:
    """Return a RoleBinding of a Role in the same namespace.

    Args:
        name: The name of the binding.
        namespace: The namespace of both.
        role: The name of the Role.
        subject: The subject, for example a result of `user` or `group`.
    """
    return {
        "apiVersion": f"{API_GROUP}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": API_GROUP, "kind": "Role", "name": role},
        "subjects": [subject],
    }


def user(name: str) -> dict[str, Any]:
    """Return a user as the subject of a binding."""
    return {"apiGroup": API_GROUP, "kind": "User", "name": name}


def group(name: str) -> dict[str, Any]:
    """Return a group as the subject of a binding."""
    return {"apiGroup": API_GROUP, "kind": "Group", "name": name}
