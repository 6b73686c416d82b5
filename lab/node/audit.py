"""The audit log of the API server: who did what, without the contents of Secrets.

See https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/.
"""

from typing import Any

from lab.node.paths import AUDIT_LOG, AUDIT_POLICY
from lab.pki import NODES_GROUP

AUDIT_FLAGS = {
    "audit-policy-file": AUDIT_POLICY,
    "audit-log-path": AUDIT_LOG,
    # The values of the CIS Kubernetes Benchmark: days, files, and MiB.
    "audit-log-maxage": "30",
    "audit-log-maxbackup": "10",
    "audit-log-maxsize": "100",
}
"""The API server's flags of the audit log and its rotation."""

READ = ["get", "list", "watch"]
WRITE = ["create", "update", "patch", "delete", "deletecollection"]

SYSTEM_USERS = [
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-proxy",
    "system:kube-scheduler",
]
"""The users of the services of the control plane, and of kube-proxy."""

SYSTEM_GROUPS = [NODES_GROUP, "system:serviceaccounts:kube-system"]
"""The groups of kubelets, controllers and add-ons."""


def audit_policy() -> dict[str, Any]:
    """Return the default audit policy. The first rule that matches a request decides.

    No rule logs a response body, and none logs the request body of a resource that holds secrets.
    """
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "omitManagedFields": True,
        "rules": [
            {
                "level": "None",
                "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version", "/openapi*", "/api*"],
            },
            # These are written all the time, and say nothing about people.
            {
                "level": "None",
                "resources": [
                    {"group": "", "resources": ["events"]},
                    {"group": "events.k8s.io", "resources": ["events"]},
                    {"group": "coordination.k8s.io", "resources": ["leases"]},
                ],
            },
            # The bodies hold secrets or tokens.
            {
                "level": "Metadata",
                "resources": [
                    {"group": "", "resources": ["secrets", "serviceaccounts/token"]},
                    {"group": "authentication.k8s.io"},
                ],
            },
            {"level": "None", "users": SYSTEM_USERS, "verbs": READ},
            {"level": "None", "userGroups": SYSTEM_GROUPS, "verbs": READ},
            # Many people keep passwords in ConfigMaps, too.
            {"level": "Metadata", "resources": [{"group": "", "resources": ["configmaps"]}]},
            {"level": "None", "userGroups": [NODES_GROUP], "resources": [{"group": "", "resources": ["nodes/status"]}]},
            # Controllers write much, and what they write follows from what others wrote.
            {"level": "Metadata", "users": SYSTEM_USERS},
            {"level": "Metadata", "userGroups": SYSTEM_GROUPS},
            {"level": "Request", "verbs": WRITE},
            {"level": "Metadata"},
        ],
    }
