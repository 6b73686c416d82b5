"""The Kubernetes objects that the lab itself creates: access to kubelets, TLS bootstrap, and the cluster DNS."""

from typing import Any

from lab.node import bootstrap, paths, rbac
from lab.node.credentials import KeyPair, authority_file
from lab.node.documents import to_yaml
from lab.node.kubeconfig import with_paths
from lab.node.service import Binary, File, Service
from lab.node.units import unit, unit_path
from lab.pki import ADMIN
from lab.spec import Node, Role, Spec
from lab.versions import image_reference

OWNERSHIP_LABEL = {"app.kubernetes.io/managed-by": "hardway"}
"""The label of the lab's own objects. `apply-objects` deletes every object with it that is no longer listed."""


def addons(spec: Spec, node: Node) -> Service:
    """Return the service that applies the lab's own objects on a control plane."""
    authority, pair = f"{paths.ADDONS}/ca.crt", KeyPair.of(ADMIN, folder=paths.ADDONS)
    objects = [
        *_kubelet_access(),
        *(bootstrap.certificate_access() if spec.tls_bootstrap else []),
        *(_cluster_dns(spec) if spec.dns_addon else []),
    ]
    return Service(
        name="addons",
        unit="addons.service",
        needs=("kube-apiserver",),
        files={
            unit_path("addons.service"): File(
                content=unit("addons.service", program=f"{paths.PROGRAMS}/apply-objects {paths.ADDONS}")
            ),
            f"{paths.ADDONS}/manifests.yaml": File(content=to_yaml(*map(_with_ownership_label, objects))),
            paths.ADMIN_KUBECONFIG: File(
                content=with_paths(
                    server=node.api_server,
                    authority=authority,
                    certificate=pair.certificate,
                    key=pair.key,
                    user="admin",
                )
            ),
            authority: authority_file(),
            **pair.files,
        },
        binaries={paths.KUBECTL: Binary(name="kubectl", version=node.kubernetes_version)},
    )


def _with_ownership_label(document: dict[str, Any]) -> dict[str, Any]:
    metadata = document["metadata"]
    return document | {"metadata": metadata | {"labels": metadata.get("labels", {}) | OWNERSHIP_LABEL}}


def _kubelet_access() -> list[dict[str, Any]]:
    """Return the objects that let the API server fetch logs, run commands and forward ports through kubelets."""
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


def _cluster_dns(spec: Spec) -> list[dict[str, Any]]:
    """Return CoreDNS behind the Service `kube-dns`.

    It follows the specification of cluster DNS: https://github.com/kubernetes/dns/blob/master/docs/specification.md.
    """
    labels = {"k8s-app": "kube-dns"}
    metadata = {"name": "coredns", "namespace": "kube-system"}
    role = "system:coredns"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": f"{rbac.API_GROUP}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": role},
            "rules": [
                {
                    "apiGroups": [""],
                    "resources": ["endpoints", "services", "pods", "namespaces"],
                    "verbs": ["list", "watch"],
                },
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        },
        rbac.cluster_role_binding(role, role, {"kind": "ServiceAccount", **metadata}),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"Corefile": _corefile(spec.networks.cluster_domain)},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": _dns_pod()},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
            "spec": {
                "selector": labels,
                "clusterIP": str(spec.networks.cluster_dns),
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        },
    ]


def _dns_pod() -> dict[str, Any]:
    return {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        # CoreDNS must use the node's resolver. With the Service's address it would query itself.
        "dnsPolicy": "Default",
        "tolerations": [
            {"key": "CriticalAddonsOnly", "operator": "Exists"},
            # In a lab without workers, every node is a control plane.
            {"key": f"node-role.kubernetes.io/{Role.CONTROL_PLANE}", "effect": "NoSchedule"},
        ],
        "containers": [
            {
                "name": "coredns",
                "image": image_reference("coredns"),
                "args": ["-conf", "/etc/coredns/Corefile"],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "170Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                },
                # On an emulated node, an answer takes longer than the default of one second.
                "livenessProbe": {
                    "httpGet": {"path": "/health", "port": 8080},
                    "timeoutSeconds": 10,
                    "failureThreshold": 5,
                },
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "timeoutSeconds": 10},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }


def _corefile(cluster_domain: str) -> str:
    return f""".:53 {{
    errors
    health
    ready
    kubernetes {cluster_domain} in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
}}
"""
