"""The add-on CoreDNS, the DNS of the cluster."""

from lab.node import rbac
from lab.node.addons.addon import ANSWER_SECONDS, BROUGHT, LIVENESS_TIMES, NO_DEADLINE, Object, placement, pod_metadata
from lab.spec import DnsAddon, Spec
from lab.versions import image_reference

LABELS = {"k8s-app": "kube-dns"}


def cluster_dns(spec: Spec) -> list[Object]:
    """Return CoreDNS behind the Service `kube-dns`.

    It follows the specification of cluster DNS: https://github.com/kubernetes/dns/blob/master/docs/specification.md.
    """
    dns = spec.addons.dns
    assert dns, "the add-on is enabled"
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
            "data": {"Corefile": _corefile(spec.networks.cluster_domain, dns)},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": dns.replicas or min(2, len(spec.addon_candidates)),
                "progressDeadlineSeconds": NO_DEADLINE,
                # By default, two replicas would be three during an update.
                "strategy": {"rollingUpdate": {"maxUnavailable": 1}},
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": pod_metadata(spec, LABELS), "spec": _dns_pod(spec)},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": LABELS},
            "spec": {
                "selector": LABELS,
                "clusterIP": str(spec.networks.cluster_dns),
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
        },
    ]


def _dns_pod(spec: Spec) -> Object:
    return {
        "serviceAccountName": "coredns",
        **placement(spec, LABELS),
        # CoreDNS must use the node's resolver. With the Service's address it would query itself.
        "dnsPolicy": "Default",
        "containers": [
            {
                "name": "coredns",
                "image": image_reference("coredns", spec.version("coredns")),
                "imagePullPolicy": BROUGHT,
                "args": ["-conf", "/etc/coredns/Corefile"],
                "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "170Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                },
                "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, **LIVENESS_TIMES},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "timeoutSeconds": ANSWER_SECONDS},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }


def _corefile(cluster_domain: str, dns: DnsAddon) -> str:
    """Return the configuration of CoreDNS: a server for all names, and one for each stub domain.

    CoreDNS answers a name by the server with the longest matching domain.
    """
    lines = [
        "errors",
        "health",
        "ready",
        f"kubernetes {cluster_domain} in-addr.arpa ip6.arpa {{",
        "    pods insecure",
        "    fallthrough in-addr.arpa ip6.arpa",
        "}",
        *dns.corefile,
        f"forward . {' '.join(dns.forward) or '/etc/resolv.conf'}",
        "cache 30",
        "loop",
        "reload",
    ]
    stubs = [
        _server(domain, ["errors", f"forward . {' '.join(servers)}", "cache 30"])
        for domain, servers in dns.stub_domains.items()
    ]
    return "".join([_server(".", lines), *stubs])


def _server(domain: str, lines: list[str]) -> str:
    return f"{domain}:53 {{\n" + "".join(f"    {line}\n" for line in lines) + "}\n"
