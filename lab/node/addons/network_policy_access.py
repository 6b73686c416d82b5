"""The add-on that lets kube-network-policies read policies, and the pods and namespaces that they select."""

from lab.node import rbac
from lab.node.addons.addon import Object
from lab.pki import KUBE_NETWORK_POLICIES
from lab.spec import Spec


def network_policy_access(_: Spec) -> list[Object]:
    """Return the role of kube-network-policies."""
    verbs = ["list", "watch"]
    return [
        {
            "apiVersion": f"{rbac.API_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": KUBE_NETWORK_POLICIES},
            "rules": [
                {"apiGroups": [""], "resources": ["namespaces", "pods"], "verbs": verbs},
                {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": verbs},
            ],
        },
        rbac.cluster_role_binding(KUBE_NETWORK_POLICIES, KUBE_NETWORK_POLICIES, rbac.user(KUBE_NETWORK_POLICIES)),
    ]
