"""The add-on that lets the API server fetch logs, run commands and forward ports through kubelets."""

from lab.node import rbac
from lab.node.addons.addon import Object
from lab.spec import Spec


def kubelet_access(_: Spec) -> list[Object]:
    """Return the role of the API server on kubelets."""
    name = "system:kube-apiserver-to-kubelet"
    resources = ["nodes/proxy", "nodes/stats", "nodes/log", "nodes/spec", "nodes/metrics"]
    return [
        {
            "apiVersion": f"{rbac.API_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name, "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}},
            "rules": [{"apiGroups": [""], "resources": resources, "verbs": ["*"]}],
        },
        rbac.cluster_role_binding("system:kube-apiserver", name, rbac.user("kubernetes")),
    ]
