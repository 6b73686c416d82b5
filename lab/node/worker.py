"""What runs pods on a node: containerd, kubelet and kube-proxy, hardened, as plain files and systemd units."""

from typing import Any

import tomli_w

from lab.node import bootstrap, kubeconfig
from lab.node.credentials import KeyPair, authority_file
from lab.node.node_setup import (
    CNI_CONFIGURATION,
    CNI_PLUGINS,
    CONTAINERD_SOCKET,
    NODE_ENVIRONMENT,
    PROGRAMS,
    WORKER_NAME,
    reads_user_data,
)
from lab.node.service import Binary, File, Image, Service, overlay, to_yaml
from lab.node.units import command, environment_file, unit, unit_path
from lab.pki import KUBE_PROXY_USER, has_kubelet_certificate, kubelet_identity, kubelet_user
from lab.spec import Node, NodePaths, Role, Spec
from lab.versions import image_reference, minor, version

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
    return (containerd(spec, node), kubelet(spec, node), kube_proxy(spec, node))


def containerd(spec: Spec, node: Node) -> Service:
    """The container runtime: containerd with runc, cgroups left to systemd."""
    path, binaries = "/etc/containerd/config.toml", spec.layout.of(node).binaries
    runc = f"{binaries}/runc"
    configuration: dict[str, Any] = {
        "version": 3,
        "plugins": {
            "io.containerd.cri.v1.images": {
                "snapshotter": "overlayfs",
                "pinned_images": {"sandbox": image_reference("pause")},
            },
            "io.containerd.cri.v1.runtime": {
                "cni": {"bin_dirs": [CNI_PLUGINS], "conf_dir": CNI_CONFIGURATION},
                # As often as a kubelet looks at its containers. By default it is every second
                # (containerd, internal/cri/server/stats_collector.go), a quarter of an emulated CPU on an idle node.
                "stats_collect_period": "10s",
                "containerd": {
                    "default_runtime_name": "runc",
                    "runtimes": {
                        "runc": {
                            "runtime_type": "io.containerd.runc.v2",
                            "options": {"SystemdCgroup": True, "BinaryName": runc},
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
            runc: Binary(name="runc", version=version("runc")),
        },
        check=f"{PROGRAMS}/reads-all 'Ignoring unknown key'"
        f' "$STAGED/bin/containerd" --config "$STAGED{path}" config dump',
        health=f"{PROGRAMS}/containerd-healthy {binaries}/crictl",
    )


def kubelet(spec: Spec, node: Node) -> Service:
    """The node agent, and the images that its pods start from.

    Its serving certificate is its client certificate too, unless that comes from the cluster. Where there is none for
    it, the kubelet makes one itself.
    """
    variables, environment = _name_from_user_data(spec, node)
    layout = spec.layout.of(node)
    program, authority = f"{layout.binaries}/kubelet", layout.kubelet_certificate_authority
    pair = KeyPair(
        identity=kubelet_identity(node),
        certificate=layout.kubelet_certificate,
        key=layout.kubelet_key,
        restarts=not _rereads_certificate(node),
    )
    if spec.tls_bootstrap:
        certificate = key = layout.kubelet_client_certificate
    else:
        certificate, key = pair.certificate, pair.key
    serving = pair if has_kubelet_certificate(spec, node) else None
    flags = {
        "config": layout.kubelet_configuration,
        "kubeconfig": layout.kubelet_kubeconfig,
        **(_bootstrap_flags(layout) if spec.tls_bootstrap else {}),
        **({} if variables else {"hostname-override": node.name}),
        "node-ip": str(node.address),
        **({} if spec.administered else _labels(node)),
        "v": LOG_LEVEL,
    }
    return Service(
        name="kubelet",
        unit="kubelet.service",
        needs=("containerd", *_comes_after(spec, node)),
        files={
            unit_path("kubelet.service"): File(
                content=unit(
                    "kubelet.service",
                    command=command(program, flags, variables),
                    environment=environment,
                )
            ),
            unit_path("kubelet-images.service"): File(
                content=unit("kubelet-images.service", program=f"{PROGRAMS}/import-images kubelet"),
                restarts=False,
            ),
            layout.kubelet_configuration: File(
                content=to_yaml(overlay(_kubelet_configuration(spec, node, authority, serving), node.kubelet))
            ),
            layout.kubelet_kubeconfig: File(
                content=kubeconfig.with_paths(
                    server=spec.api_endpoint,
                    authority=authority,
                    certificate=certificate,
                    key=key,
                    user=kubelet_user(node.name),
                )
            ),
            authority: authority_file(),
            **(serving.files if serving else {}),
            **(_bootstrap_files(spec, node, layout) if spec.tls_bootstrap else {}),
        },
        binaries={program: Binary(name="kubelet", version=node.kubernetes_version)},
        images=tuple(Image(name=name, version=version(name)) for name in ("pause", "busybox", "coredns")),
        check=_where_changed(f'"$STAGED{program}" --version', program),
        health=f"{PROGRAMS}/kubelet-healthy {node.name} {spec.api_endpoint} {authority} {certificate} {key}",
    )


REREADS_CERTIFICATE = 36
"""Since which minor version a kubelet shows a renewed certificate to everybody. Since v1.31 it reads it, but those who
connect by address, as API servers do, are shown the one from its start."""


def _rereads_certificate(node: Node) -> bool:
    """Whether the kubelet takes a renewed certificate without a restart.

    As a server it does since a certain version, unless that feature gate is off: https://kubernetes.io/docs/reference/
    command-line-tools-reference/feature-gates/. As a client it does within five minutes, as client-go does with every
    certificate that a kubeconfig names by its file.
    """
    gates: dict[str, Any] = node.kubelet.get("featureGates") or {}
    knows = minor(node.kubernetes_version) >= REREADS_CERTIFICATE
    return knows and gates.get("ReloadKubeletServerCertificateFile") is not False


def _comes_after(spec: Spec, node: Node) -> tuple[str, ...]:
    """The services of a control plane that its kubelet works with."""
    if node.role is not Role.CONTROL_PLANE:
        return ()
    admits = spec.tls_bootstrap and node == spec.control_planes[0]
    return (spec.api_server_service, *(("node-admission",) if admits else ()))


def kube_proxy(spec: Spec, node: Node) -> Service:
    """The network proxy: the rules by which a Service's address leads to its pods."""
    layout = spec.layout.of(node)
    program, path = f"{layout.binaries}/kube-proxy", layout.kube_proxy_configuration
    authority = layout.kube_proxy_certificate_authority
    pair = KeyPair(identity="kube-proxy", certificate=layout.kube_proxy_certificate, key=layout.kube_proxy_key)
    variables, environment = _name_from_user_data(spec, node)
    configuration = {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "clientConnection": {"kubeconfig": layout.kube_proxy_kubeconfig},
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
                    command=command(program, {"config": path, "v": LOG_LEVEL}, variables),
                    environment=environment,
                )
            ),
            path: File(content=to_yaml(overlay(configuration, node.kube_proxy))),
            layout.kube_proxy_kubeconfig: File(
                content=kubeconfig.with_paths(
                    server=spec.api_endpoint,
                    authority=authority,
                    certificate=pair.certificate,
                    key=pair.key,
                    user=KUBE_PROXY_USER,
                )
            ),
            authority: authority_file(),
            **pair.files,
        },
        binaries={program: Binary(name="kube-proxy", version=node.kubernetes_version)},
        check=_where_changed(
            f"{PROGRAMS}/reads-all '[Uu]sing lenient decoding'"
            f' "$STAGED{program}" --config "$STAGED{path}" --write-config-to /dev/null',
            *(program, path),
        ),
        health=f"{PROGRAMS}/endpoint-healthy http://{KUBE_PROXY_HEALTH}/healthz",
    )


def _where_changed(check: str, *paths: str) -> str:
    """A check that starts a program, only where one of its files is another: it takes seconds on an emulated node."""
    unchanged = " && ".join(f'"$CHANGED" != *" {path} "*' for path in paths)
    return f"[[ {unchanged} ]] || {check}"


def _name_from_user_data(spec: Spec, node: Node) -> tuple[dict[str, str], str]:
    """The flag whose value a unit takes from the node's environment, and the unit's line for that; else nothing."""
    if not reads_user_data(spec, node):
        return {}, environment_file(None)
    return {"hostname-override": WORKER_NAME}, environment_file(NODE_ENVIRONMENT)


def _labels(node: Node) -> dict[str, str]:
    """The flag by which a kubelet gives its node labels when it registers, where no administrator gives it any."""
    labels = ",".join(f"{label}={value}" for label, value in sorted(node.labels.items()))
    return {"node-labels": labels} if labels else {}


def _bootstrap_flags(layout: NodePaths) -> dict[str, str]:
    return {
        "bootstrap-kubeconfig": layout.kubelet_bootstrap_kubeconfig,
        "cert-dir": layout.kubelet_client_certificates,
    }


def _bootstrap_files(spec: Spec, node: Node, layout: NodePaths) -> dict[str, File]:
    """What a kubelet without a client certificate asks for one by; one that has its certificate reads none of it."""
    return {
        layout.kubelet_bootstrap_kubeconfig: File(
            content=kubeconfig.with_token_file(
                server=spec.api_endpoint,
                authority=layout.kubelet_certificate_authority,
                token=bootstrap.TOKEN_FILE,
                user="kubelet-bootstrap",
            )
        ),
        bootstrap.TOKEN_FILE: bootstrap.token_file(node, transient=True),
    }


def _kubelet_configuration(spec: Spec, node: Node, authority: str, pair: KeyPair | None) -> dict[str, Any]:
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
        **({"tlsCertFile": pair.certificate, "tlsPrivateKeyFile": pair.key} if pair else {}),
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
    if spec.tls_bootstrap:
        configuration["rotateCertificates"] = True
    # From its first moment on; changes are the administrator's, see assets/node/membership.
    if node.taints:
        configuration["registerWithTaints"] = [
            {"key": taint.key, "value": taint.value, "effect": str(taint.effect)} for taint in node.taints
        ]
    return configuration
