"""What runs pods on a node: containerd, kubelet and kube-proxy, hardened, as plain files and systemd units."""

from typing import Any

import tomli_w

from lab import kubeconfig
from lab.credentials import KeyPair, authority_file
from lab.files import Binary, File, Image, Service, overlay, to_yaml
from lab.node_setup import (
    CNI_CONFIGURATION,
    CNI_PLUGINS,
    CONTAINERD_SOCKET,
    NODE_ENVIRONMENT,
    PROGRAMS,
    WORKER_NAME,
    reads_user_data,
)
from lab.pki import kubelet_identity
from lab.spec import Node, Role, Spec
from lab.units import command, environment_file, unit, unit_path
from lab.versions import image_reference, version

BINARIES = "/usr/local/bin"
KUBELET = "/var/lib/kubelet"
KUBE_PROXY = "/var/lib/kube-proxy"
KUBE_PROXY_METRICS = "127.0.0.1:10249"
KUBE_PROXY_HEALTH = "127.0.0.1:10256"
KUBELET_HEALTH_PORT = 10248
LOG_LEVEL = "2"

CIPHER_SUITES = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
]
"""What the CIS Kubernetes Benchmark allows a kubelet for TLS 1.2; those of TLS 1.3 cannot be chosen."""


def pod_services(spec: Spec, node: Node) -> tuple[Service, ...]:
    """What runs pods on a node, in the order in which they need one another."""
    return (containerd(node), kubelet(spec, node), kube_proxy(spec, node))


def containerd(node: Node) -> Service:
    """The container runtime: containerd with runc, cgroups left to systemd."""
    path = "/etc/containerd/config.toml"
    configuration: dict[str, Any] = {
        "version": 3,
        "plugins": {
            "io.containerd.cri.v1.images": {
                "snapshotter": "overlayfs",
                "pinned_images": {"sandbox": image_reference("pause")},
            },
            "io.containerd.cri.v1.runtime": {
                "cni": {"bin_dirs": [CNI_PLUGINS], "conf_dir": CNI_CONFIGURATION},
                "containerd": {
                    "default_runtime_name": "runc",
                    "runtimes": {
                        "runc": {
                            "runtime_type": "io.containerd.runc.v2",
                            "options": {"SystemdCgroup": True, "BinaryName": f"{BINARIES}/runc"},
                        }
                    },
                },
            },
        },
    }
    programs = {"/bin/containerd": "containerd", "/bin/containerd-shim-runc-v2": "containerd-shim-runc-v2"}
    return Service(
        name="containerd",
        unit="containerd.service",
        needs=("node-setup",),
        files={
            unit_path("containerd.service"): File(
                content=unit("containerd.service", command=command("/bin/containerd", {"config": path}))
            ),
            path: File(content=tomli_w.dumps(overlay(configuration, node.containerd))),
        },
        binaries={
            **{path: Binary(name=name, version=version("containerd")) for path, name in programs.items()},
            "/bin/ctr": Binary(name="ctr", version=version("containerd")),
            f"{BINARIES}/runc": Binary(name="runc", version=version("runc")),
        },
        check=f'"$STAGED/bin/containerd" --config "$STAGED{path}" config dump',
        health=f"{PROGRAMS}/containerd-healthy",
    )


def kubelet(spec: Spec, node: Node) -> Service:
    """The node agent, and the images that its pods start from.

    Its one certificate is its client certificate and its serving certificate.
    """
    variables, environment = _name_from_user_data(spec, node)
    authority, pair = f"{KUBELET}/ca.crt", KeyPair.of(kubelet_identity(node), folder=KUBELET, name="kubelet")
    flags = {
        "config": f"{KUBELET}/kubelet-config.yaml",
        "kubeconfig": f"{KUBELET}/kubeconfig",
        **({} if variables else {"hostname-override": node.name}),
        "node-ip": str(node.address),
        "v": LOG_LEVEL,
    }
    return Service(
        name="kubelet",
        unit="kubelet.service",
        needs=("containerd", *((spec.api_service,) if node.role is Role.CONTROL_PLANE else ())),
        files={
            unit_path("kubelet.service"): File(
                content=unit(
                    "kubelet.service",
                    command=command(f"{BINARIES}/kubelet", flags, variables),
                    environment=environment,
                )
            ),
            unit_path("kubelet-images.service"): File(
                content=unit("kubelet-images.service", program=f"{PROGRAMS}/import-images kubelet"),
                restarts=False,
            ),
            flags["config"]: File(
                content=to_yaml(overlay(_kubelet_configuration(spec, node, authority, pair), node.kubelet))
            ),
            flags["kubeconfig"]: File(
                content=kubeconfig.referring(
                    server=spec.api_endpoint,
                    authority=authority,
                    certificate=pair.certificate,
                    key=pair.key,
                    user=f"system:node:{node.name}",
                )
            ),
            authority: authority_file(),
            **pair.files,
        },
        binaries={f"{BINARIES}/kubelet": Binary(name="kubelet", version=node.kubernetes_version)},
        images=tuple(Image(name=name, version=version(name)) for name in ("pause", "busybox", "coredns")),
        check=f'"$STAGED{BINARIES}/kubelet" --version',
        health=f"{PROGRAMS}/kubelet-healthy {node.name} {spec.api_endpoint} {authority} {pair.certificate} {pair.key}",
    )


def kube_proxy(spec: Spec, node: Node) -> Service:
    """The network proxy: the rules by which a Service's address leads to its pods."""
    authority, pair = f"{KUBE_PROXY}/ca.crt", KeyPair.of("kube-proxy", folder=KUBE_PROXY)
    path = f"{KUBE_PROXY}/kube-proxy-config.yaml"
    variables, environment = _name_from_user_data(spec, node)
    configuration = {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "clientConnection": {"kubeconfig": f"{KUBE_PROXY}/kubeconfig"},
        "mode": "iptables",
        "clusterCIDR": str(spec.networks.cluster_cidr),
        # Of all flags beside a configuration file, this is the one that goes before it.
        **({} if variables else {"hostnameOverride": node.name}),
        "metricsBindAddress": KUBE_PROXY_METRICS,
        "healthzBindAddress": KUBE_PROXY_HEALTH,
    }
    return Service(
        name="kube-proxy",
        unit="kube-proxy.service",
        needs=("kubelet",),
        files={
            unit_path("kube-proxy.service"): File(
                content=unit(
                    "kube-proxy.service",
                    command=command(f"{BINARIES}/kube-proxy", {"config": path, "v": LOG_LEVEL}, variables),
                    environment=environment,
                )
            ),
            path: File(content=to_yaml(overlay(configuration, node.kube_proxy))),
            f"{KUBE_PROXY}/kubeconfig": File(
                content=kubeconfig.referring(
                    server=spec.api_endpoint,
                    authority=authority,
                    certificate=pair.certificate,
                    key=pair.key,
                    user="system:kube-proxy",
                )
            ),
            authority: authority_file(),
            **pair.files,
        },
        binaries={f"{BINARIES}/kube-proxy": Binary(name="kube-proxy", version=node.kubernetes_version)},
        check=f'"$STAGED{BINARIES}/kube-proxy" --version',
        health=f"{PROGRAMS}/endpoint-healthy http://{KUBE_PROXY_HEALTH}/healthz",
    )


def _name_from_user_data(spec: Spec, node: Node) -> tuple[dict[str, str], str]:
    """The flag whose value a unit takes from the node's environment, and the unit's line for that; else nothing."""
    if not reads_user_data(spec, node):
        return {}, environment_file(None)
    return {"hostname-override": WORKER_NAME}, environment_file(NODE_ENVIRONMENT)


def _kubelet_configuration(spec: Spec, node: Node, authority: str, pair: KeyPair) -> dict[str, Any]:
    """The kubelet's own fields: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/."""
    configuration: dict[str, Any] = {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": authority},
        },
        "authorization": {"mode": "Webhook"},
        "readOnlyPort": 0,
        "healthzPort": KUBELET_HEALTH_PORT,
        "tlsCertFile": pair.certificate,
        "tlsPrivateKeyFile": pair.key,
        "tlsMinVersion": "VersionTLS12",
        "tlsCipherSuites": CIPHER_SUITES,
        "containerRuntimeEndpoint": CONTAINERD_SOCKET,
        "cgroupDriver": "systemd",
        "clusterDomain": spec.networks.cluster_domain,
        "clusterDNS": [str(spec.networks.cluster_dns)],
        # Not resolved's stub: its loopback address would be the pod's own.
        "resolvConf": "/run/systemd/resolve/resolv.conf",
        "runtimeRequestTimeout": "15m",
        "registerNode": True,
        "failSwapOn": True,
        "maxPods": 110,
        "podPidsLimit": 4096,
        "seccompDefault": True,
        "streamingConnectionIdleTimeout": "5m",
        "makeIPTablesUtilChains": True,
        "eventRecordQPS": 5,
        "protectKernelDefaults": True,
        "shutdownGracePeriod": "30s",
        "shutdownGracePeriodCriticalPods": "10s",
        "systemReserved": {"cpu": "100m", "memory": "128Mi"},
        "kubeReserved": {"cpu": "100m", "memory": "128Mi"},
    }
    # From its first moment on; changes are the administrator's, see assets/node/membership.
    if node.taints:
        configuration["registerWithTaints"] = [
            {"key": taint.key, "value": taint.value, "effect": str(taint.effect)} for taint in node.taints
        ]
    return configuration
