"""The add-on metrics-server, which serves the CPU and memory usage of nodes and pods as the API metrics.k8s.io.

`kubectl top` and HorizontalPodAutoscalers use that API. The objects follow the release of the project:
https://github.com/kubernetes-sigs/metrics-server/tree/master/manifests/base.
"""

from lab.node import rbac
from lab.node.addons.addon import (
    ANSWER_SECONDS,
    BROUGHT,
    LIVENESS_TIMES,
    NO_DEADLINE,
    UNPRIVILEGED,
    Object,
    placement,
    pod_metadata,
)
from lab.spec import Spec
from lab.versions import image_reference

NAME = "metrics-server"

METADATA = {"name": NAME, "namespace": "kube-system"}

LABELS = {"k8s-app": NAME}

PORT = 10250

AUTHORITY = "/etc/kubelet-ca"
"""The folder with the certificate of the authority that signs the serving certificates of kubelets."""

ACCESS = "system:metrics-server"
"""The ClusterRole of metrics-server itself."""

READER = "system:aggregated-metrics-reader"
"""The ClusterRole that lets users with the roles view, edit and admin read metrics."""


def metrics_server(spec: Spec) -> list[Object]:
    """Return metrics-server and the registration of its API."""
    account = {"kind": "ServiceAccount", **METADATA}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": METADATA},
        {
            "apiVersion": f"{rbac.API_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": READER,
                "labels": {f"{rbac.API_GROUP}/aggregate-to-{role}": "true" for role in ("view", "edit", "admin")},
            },
            "rules": [
                {"apiGroups": ["metrics.k8s.io"], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]}
            ],
        },
        {
            "apiVersion": f"{rbac.API_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": ACCESS},
            "rules": [
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
            ],
        },
        rbac.cluster_role_binding(ACCESS, ACCESS, account),
        # It lets metrics-server ask the API server whether a client may read metrics.
        rbac.cluster_role_binding(f"{NAME}:system:auth-delegator", "system:auth-delegator", account),
        rbac.role_binding(f"{NAME}-auth-reader", "kube-system", "extension-apiserver-authentication-reader", account),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {**METADATA, "labels": LABELS},
            "spec": {
                "selector": LABELS,
                "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": "https"}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": METADATA,
            "spec": {
                "replicas": 1,
                "progressDeadlineSeconds": NO_DEADLINE,
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": pod_metadata(spec, LABELS), "spec": _pod(spec)},
            },
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "service": {**METADATA, "port": 443},
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                # metrics-server signs its own certificate at every start, so there is no authority to check it with.
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    ]


def _pod(spec: Spec) -> Object:
    def request(path: str) -> Object:
        return {"httpGet": {"path": path, "port": "https", "scheme": "HTTPS"}}

    return {
        "serviceAccountName": NAME,
        **placement(spec, LABELS),
        "containers": [
            {
                "name": NAME,
                "image": image_reference(NAME),
                "imagePullPolicy": BROUGHT,
                "args": [
                    "--cert-dir=/tmp",
                    f"--secure-port={PORT}",
                    "--kubelet-preferred-address-types=InternalIP",
                    "--kubelet-use-node-status-port",
                    f"--kubelet-certificate-authority={AUTHORITY}/ca.crt",
                    # On an emulated node, an answer of the kubelet takes longer than the default of ten seconds.
                    "--metric-resolution=30s",
                    "--kubelet-request-timeout=25s",
                ],
                "ports": [{"name": "https", "containerPort": PORT, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "25m", "memory": "48Mi"}},
                "securityContext": UNPRIVILEGED,
                # Its start takes a minute on an emulated node.
                "startupProbe": {**request("/livez"), "timeoutSeconds": ANSWER_SECONDS, "failureThreshold": 60},
                "livenessProbe": {**request("/livez"), **LIVENESS_TIMES},
                "readinessProbe": {**request("/readyz"), "timeoutSeconds": ANSWER_SECONDS},
                "volumeMounts": [
                    {"name": "certificates", "mountPath": "/tmp"},
                    {"name": "kubelet-authority", "mountPath": AUTHORITY, "readOnly": True},
                ],
            }
        ],
        "volumes": [
            {"name": "certificates", "emptyDir": {}},
            # The authority of the lab, which the controller manager publishes in every namespace.
            {"name": "kubelet-authority", "configMap": {"name": "kube-root-ca.crt"}},
        ],
    }
