"""The services that run pods on a node, as plain files and systemd units.

They are containerd and the kubelet, and the services of the pods' network: kube-proxy and kube-network-policies.

Every worker has them, and so does a control plane that is also a node of the cluster.
"""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import tomli_w

from lab.node import bootstrap, kubeconfig, paths
from lab.node.addons.table import addon_images
from lab.node.credentials import KeyPair, authority_file
from lab.node.documents import overlay, to_line, to_yaml
from lab.node.node_setup import KUBE_PROXY_MODE, configured_resolv_conf, kube_proxy_mode, reads_user_data
from lab.node.registries import registry_files
from lab.node.service import Binary, File, Image, Service
from lab.node.units import command, environment_file, unit, unit_path
from lab.pki import KUBE_NETWORK_POLICIES, KUBE_PROXY_USER, has_kubelet_certificate, kubelet_identity, kubelet_user
from lab.spec import MAX_PODS, Node, NodePaths, PodNetwork, Role, Spec
from lab.versions import image_reference, minor

LOG_LEVEL = "2"
"""The verbosity of every Kubernetes component's log."""

CIPHER_SUITES = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
]
"""The cipher suites that the CIS Kubernetes Benchmark allows a kubelet for TLS 1.2. Those of TLS 1.3 are fixed."""

IMAGES_PLUGIN = "io.containerd.cri.v1.images"
"""containerd's plugin that pulls images, as its configuration names it."""

STATS_COLLECTION_MINOR = 3
"""The first minor version of containerd that collects statistics of CPUs by itself, in a period that can be set."""

CERTIFICATE_RELOAD_MINOR = 36
"""The first minor version in which a kubelet serves a renewed certificate to every client.

Since v1.31 a kubelet rereads the file. But clients that connect by address, such as API servers, still get the
certificate that it read at startup.
"""

_BOOT_RULES = """\
# Loaded at boot by hold-pods. The first rules of kube-network-policies replace the whole table.
table inet kube-network-policies {{
	chain postrouting {{
		type filter hook postrouting priority srcnat - 5; policy accept;
		meta skuid 0 accept
		ct state established,related accept
		ip saddr {pods} drop
		ip daddr {pods} drop
	}}
}}
"""
"""The rules of the service itself, but without policies: processes of root on the node reach its pods."""


def pod_services(spec: Spec, node: Node) -> tuple[Service, ...]:
    """Return the services that run pods on a node, each after those that it needs."""
    return (
        containerd(spec, node),
        kubelet(spec, node),
        *([kube_proxy(spec, node)] if spec.kube_proxy_enabled else []),
        *([kube_network_policies(spec, node)] if spec.network_policy else []),
    )


def containerd(spec: Spec, node: Node) -> Service:
    """Return the container runtime: containerd with runc, which leaves cgroups to systemd."""
    binaries = spec.layout.of(node).binaries
    runc = f"{binaries}/runc"
    images: dict[str, Any] = {
        "snapshotter": "overlayfs",
        "pinned_images": {"sandbox": image_reference("pause")},
    }
    if not _has_registry_settings(node):
        images["registry"] = {"config_path": paths.CONTAINERD_REGISTRIES}
    configuration: dict[str, Any] = {
        "version": 3,
        "plugins": {
            IMAGES_PLUGIN: images,
            "io.containerd.cri.v1.runtime": {
                **_versioned_runtime_settings(minor(spec.version("containerd"))),
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
    flags = {"config": paths.CONTAINERD_CONFIGURATION}
    return Service(
        name="containerd",
        unit="containerd.service",
        needs=("node-setup",),
        files={
            unit_path("containerd.service"): File(
                content=unit("containerd.service", command=command("/bin/containerd", flags))
            ),
            paths.CONTAINERD_CONFIGURATION: File(content=tomli_w.dumps(overlay(configuration, node.containerd))),
            **registry_files(node.registries),
        },
        binaries={
            "/bin/containerd": Binary(name="containerd", version=spec.version("containerd")),
            "/bin/containerd-shim-runc-v2": Binary(name="containerd-shim-runc-v2", version=spec.version("containerd")),
            "/bin/ctr": Binary(name="ctr", version=spec.version("containerd")),
            runc: Binary(name="runc", version=spec.version("runc")),
        },
        check=f"{paths.PROGRAMS}/check-config 'Ignoring unknown key'"
        f' "$STAGED/bin/containerd" --config "$STAGED{paths.CONTAINERD_CONFIGURATION}" config dump'
        f" && {paths.PROGRAMS}/check-registries",
        health=f"{paths.PROGRAMS}/containerd-healthy {binaries}/crictl",
    )


def _versioned_runtime_settings(minor_version: int) -> dict[str, Any]:
    """Return the settings of containerd's runtime plugin that depend on its minor version.

    The check of the service refuses a key that the version does not know: containerd, internal/cri/config/config.go.
    """
    folders = {"bin_dirs": [paths.CNI_PLUGINS]} if minor_version >= 1 else {"bin_dir": paths.CNI_PLUGINS}
    settings: dict[str, Any] = {"cni": {**folders, "conf_dir": paths.CNI_CONFIGURATION}}
    if minor_version >= STATS_COLLECTION_MINOR:
        # As often as the kubelet reads the statistics. The default is every second
        # (containerd, internal/cri/server/stats_collector.go): a quarter of an emulated CPU on an idle node.
        settings["stats_collect_period"] = "10s"
    return settings


def _has_registry_settings(node: Node) -> bool:
    """Return True if the configuration overrides settings of registries. containerd accepts only one kind of them."""
    plugins: Mapping[str, Any] = node.containerd.get("plugins") or {}
    return "registry" in (plugins.get(IMAGES_PLUGIN) or {})


def kubelet(spec: Spec, node: Node) -> Service:
    """Return the node agent, with the images that its pods start from.

    Without TLS bootstrap, one certificate serves the kubelet both as a server and as a client. With TLS bootstrap,
    the cluster issues the client certificate. If the PKI has no certificate for this kubelet, it signs its own
    serving certificate.
    """
    layout = spec.layout.of(node)
    program, authority = f"{layout.binaries}/kubelet", layout.kubelet_certificate_authority
    pair = KeyPair(
        identity=kubelet_identity(node),
        certificate=layout.kubelet_certificate,
        key=layout.kubelet_key,
        restarts=not _reloads_certificate(node),
    )
    serving = pair if has_kubelet_certificate(spec, node) else None
    if spec.tls_bootstrap:
        certificate = key = layout.kubelet_client_certificate
    else:
        certificate, key = pair.certificate, pair.key
    flags = {
        "config": layout.kubelet_configuration,
        "kubeconfig": layout.kubelet_kubeconfig,
        **(_bootstrap_flags(layout) if spec.tls_bootstrap else {}),
        **({} if reads_user_data(spec, node) else {"hostname-override": node.name}),
        "node-ip": str(node.address),
        **({} if spec.administered else _label_flags(node)),
        "v": LOG_LEVEL,
    }
    configuration = overlay(_kubelet_configuration(spec, node, authority, serving), node.kubelet)
    return Service(
        name="kubelet",
        unit="kubelet.service",
        needs=("containerd", *_control_plane_needs(spec, node)),
        follows_cluster=True,
        files={
            unit_path("kubelet.service"): _unit_file(spec, node, "kubelet.service", program, flags),
            unit_path("kubelet-images.service"): File(
                content=unit("kubelet-images.service", program=f"{paths.PROGRAMS}/import-images kubelet"),
                restarts=False,
            ),
            layout.kubelet_configuration: File(content=to_yaml(configuration)),
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
        images=(
            *(Image(name=name, version=spec.version(name)) for name in ("pause", "busybox")),
            *addon_images(spec, node),
            *(Image(name=image.name, archive=image.archive) for image in node.images),
        ),
        check=_if_changed(f'"$STAGED{program}" --version', program) + _nameserver_check(node),
        health=f"{paths.PROGRAMS}/kubelet-healthy {node.name} {spec.api_endpoint} {authority} {certificate} {key}"
        + ("" if spec.pod_network is PodNetwork.BRIDGE else " any-network"),
        state_files=state_files(configuration),
    )


def state_files(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings under which a kubelet assigns CPUs and memory to containers, by the file of assignments.

    A kubelet does not start with a file of another policy or of other reserved resources, and its documentation asks to
    drain the node and delete the file:
    https://kubernetes.io/docs/tasks/administer-cluster/cpu-management-policies/#changing-the-cpu-manager-policy.
    Source: `restoreState` and `validateState` in pkg/kubelet/cm/cpumanager and pkg/kubelet/cm/memorymanager of
    k8s.io/kubernetes. The default policies assign nothing, and alignment concerns only what the others assign.
    """
    alignment = {
        "topologyManagerPolicy": configuration.get("topologyManagerPolicy") or "none",
        "topologyManagerPolicyOptions": configuration.get("topologyManagerPolicyOptions") or {},
        "topologyManagerScope": configuration.get("topologyManagerScope") or "container",
    }
    files = {}
    if (policy := configuration.get("cpuManagerPolicy") or "none") != "none":
        # A list of CPUs replaces the number that both reservations add up to.
        reserved = configuration.get("reservedSystemCPUs") or [
            (configuration.get(name) or {}).get("cpu") for name in ("kubeReserved", "systemReserved")
        ]
        options = configuration.get("cpuManagerPolicyOptions") or {}
        files[f"{paths.KUBELET_DATA}/cpu_manager_state"] = to_line(
            {"policy": policy, "options": options, "reserved": reserved, **alignment}
        )
    if (policy := configuration.get("memoryManagerPolicy") or "None") != "None":
        # A kubelet refuses to start unless these reservations add up to all the others of memory.
        reserved = configuration.get("reservedMemory") or []
        files[f"{paths.KUBELET_DATA}/memory_manager_state"] = to_line(
            {"policy": policy, "reserved": reserved, **alignment}
        )
    return files


def _kubelet_configuration(spec: Spec, node: Node, authority: str, serving: KeyPair | None) -> dict[str, Any]:
    """Return the kubelet's fields: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/.

    A stack can override any of them with its key `kubelet`, except those that `lab/config/overrides.py` protects.
    """
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
        "healthzPort": paths.KUBELET_HEALTH_PORT,
        **({"tlsCertFile": serving.certificate, "tlsPrivateKeyFile": serving.key} if serving else {}),
        "tlsMinVersion": "VersionTLS12",
        "tlsCipherSuites": CIPHER_SUITES,
        "containerRuntimeEndpoint": paths.CONTAINERD_SOCKET,
        "cgroupDriver": "systemd",
        "clusterDomain": spec.networks.cluster_domain,
        "clusterDNS": [str(spec.networks.cluster_dns)],
        # Not the stub of systemd-resolved: in a pod, its loopback address is the pod itself.
        "resolvConf": paths.RESOLV_CONF,
        "runtimeRequestTimeout": "15m",
        "registerNode": True,
        "failSwapOn": True,
        "maxPods": MAX_PODS,
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
    # A new node must have its taints before its first pod. Later changes are the administrator's work, see
    # assets/node/node-registration.
    if node.taints:
        configuration["registerWithTaints"] = [
            {"key": taint.key, "value": taint.value, "effect": str(taint.effect)} for taint in node.taints
        ]
    return configuration


def kube_proxy(spec: Spec, node: Node) -> Service:
    """Return the network proxy, which maintains the rules that lead from a Service's address to its pods."""
    layout = spec.layout.of(node)
    program, path = f"{layout.binaries}/kube-proxy", layout.kube_proxy_configuration
    authority = layout.kube_proxy_certificate_authority
    pair = KeyPair(identity="kube-proxy", certificate=layout.kube_proxy_certificate, key=layout.kube_proxy_key)
    health_address = f"127.0.0.1:{paths.KUBE_PROXY_HEALTH_PORT}"
    rules = f"{paths.PROGRAMS}/kube-proxy-rules"
    configuration = {
        "kind": "KubeProxyConfiguration",
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "clientConnection": {"kubeconfig": layout.kube_proxy_kubeconfig},
        "mode": KUBE_PROXY_MODE,
        "clusterCIDR": str(spec.networks.cluster_cidr),
        # With a configuration file kube-proxy ignores most flags, but --hostname-override still wins over this field.
        **({} if reads_user_data(spec, node) else {"hostnameOverride": node.name}),
        "metricsBindAddress": f"127.0.0.1:{paths.KUBE_PROXY_METRICS_PORT}",
        "healthzBindAddress": health_address,
    }
    flags = {"config": path, "v": LOG_LEVEL}
    return Service(
        name="kube-proxy",
        unit="kube-proxy.service",
        needs=("kubelet",),
        follows_cluster=True,
        files={
            unit_path("kube-proxy.service"): _unit_file(
                spec,
                node,
                "kube-proxy.service",
                program,
                flags,
                prepare=f"{rules} prepare {program} {kube_proxy_mode(node)}",
            ),
            path: File(content=to_yaml(overlay(configuration, node.kube_proxy))),
            layout.kube_proxy_kubeconfig: _kubeconfig(spec, authority, pair, KUBE_PROXY_USER),
            authority: authority_file(),
            **pair.files,
        },
        binaries={program: Binary(name="kube-proxy", version=node.kubernetes_version)},
        check=_if_changed(
            f"{paths.PROGRAMS}/check-config '[Uu]sing lenient decoding'"
            f' "$STAGED{program}" --config "$STAGED{path}" --write-config-to /dev/null',
            *(program, path),
        ),
        health=f"{paths.PROGRAMS}/endpoint-healthy http://{health_address}/healthz",
        leave=f"{rules} delete {program}",
    )


def kube_network_policies(spec: Spec, node: Node) -> Service:
    """Return the service that enforces NetworkPolicies: it decides on each new connection of the pods they select.

    A stop or restart does not delete its nftables table, so that no packet passes unchecked meanwhile. At boot there is
    no table yet, and `hold-pods` loads rules that drop what nobody can decide on.
    """
    program, folder = f"{spec.layout.of(node).binaries}/{KUBE_NETWORK_POLICIES}", paths.KUBE_NETWORK_POLICIES_DATA
    authority, unit_name = f"{folder}/ca.crt", f"{KUBE_NETWORK_POLICIES}.service"
    boot_rules = f"{folder}/boot.nft"
    # client-go rereads the certificate and key.
    pair = replace(KeyPair.of(KUBE_NETWORK_POLICIES, folder=folder), restarts=False)
    health_address = f"127.0.0.1:{paths.KUBE_NETWORK_POLICIES_HEALTH_PORT}"
    flags = {
        "kubeconfig": f"{folder}/kubeconfig",
        **({} if reads_user_data(spec, node) else {"hostname-override": node.name}),
        "health-bind-address": health_address,
    }
    return Service(
        name=KUBE_NETWORK_POLICIES,
        unit=unit_name,
        needs=("kubelet", *(["addons"] if node in spec.control_planes[:1] else [])),
        follows_cluster=True,
        files={
            unit_path(unit_name): _unit_file(
                spec, node, unit_name, program, flags, prepare=f"{paths.PROGRAMS}/hold-pods {boot_rules}"
            ),
            boot_rules: File(content=_BOOT_RULES.format(pods=spec.networks.cluster_cidr), restarts=False),
            flags["kubeconfig"]: _kubeconfig(spec, authority, pair, KUBE_NETWORK_POLICIES),
            authority: authority_file(),
            **pair.files,
        },
        binaries={program: Binary(name=KUBE_NETWORK_POLICIES, version=spec.version(KUBE_NETWORK_POLICIES))},
        check=f'nft --check --file "$STAGED{boot_rules}"',
        health=f"{paths.PROGRAMS}/endpoint-healthy http://{health_address}/healthz",
        # Without the service, the table would drop the packets of the pods that policies select. After an interruption,
        # the unit may be gone already.
        leave=f"{{ systemctl stop {unit_name} 2>/dev/null || true; }} && "
        f"nft 'add table inet {KUBE_NETWORK_POLICIES}; delete table inet {KUBE_NETWORK_POLICIES}'",
    )


def _unit_file(spec: Spec, node: Node, name: str, program: str, flags: Mapping[str, str], **values: str) -> File:
    """Return the unit of a program that must know the node's name.

    On a node that reads its name from user-data, the unit passes the name from an environment file.

    Args:
        spec: The lab.
        node: The node.
        name: The name of the unit.
        program: The path of the program.
        flags: The flags of the program.
        **values: The values of further placeholders of the unit.
    """
    variables = {"hostname-override": paths.WORKER_NAME} if reads_user_data(spec, node) else {}
    environment = environment_file(paths.USER_DATA_ENVIRONMENT) if variables else ""
    return File(content=unit(name, command=command(program, flags, variables), environment=environment, **values))


def _if_changed(check: str, *changed: str) -> str:
    """Limit a check to changes of certain files: starting a program takes seconds on an emulated node."""
    unchanged = " && ".join(f'"$CHANGED" != *" {path} "*' for path in changed)
    return f"[[ {unchanged} ]] || {check}"


def _nameserver_check(node: Node) -> str:
    """Return the end of the kubelet's check: the nameservers in a file that the configuration chose."""
    path = configured_resolv_conf(node)
    return f" && {paths.PROGRAMS}/conflicts nameservers {shlex.quote(path)}" if path else ""


def _reloads_certificate(node: Node) -> bool:
    """Return True if the kubelet uses a renewed certificate without a restart.

    As a server it does so since `CERTIFICATE_RELOAD_MINOR`, unless the feature gate is off:
    https://kubernetes.io/docs/reference/command-line-tools-reference/feature-gates/. As a client it does so within
    five minutes, because client-go rereads every certificate file that a kubeconfig names.
    """
    gates: dict[str, Any] = node.kubelet.get("featureGates") or {}
    is_new_enough = minor(node.kubernetes_version) >= CERTIFICATE_RELOAD_MINOR
    return is_new_enough and gates.get("ReloadKubeletServerCertificateFile") is not False


def _control_plane_needs(spec: Spec, node: Node) -> tuple[str, ...]:
    """Return the services of a control plane that its own kubelet needs."""
    if node.role is not Role.CONTROL_PLANE:
        return ()
    creates_tokens = spec.tls_bootstrap and node == spec.control_planes[0]
    return (spec.api_server_service, *(("bootstrap-tokens",) if creates_tokens else ()))


def _label_flags(node: Node) -> dict[str, str]:
    """Return the flag that labels the node when it registers, for a cluster without an administrator in the lab."""
    labels = ",".join(f"{label}={value}" for label, value in sorted(node.labels.items()))
    return {"node-labels": labels} if labels else {}


def _bootstrap_flags(layout: NodePaths) -> dict[str, str]:
    return {
        "bootstrap-kubeconfig": layout.kubelet_bootstrap_kubeconfig,
        "cert-dir": layout.kubelet_client_certificates,
    }


def _bootstrap_files(spec: Spec, node: Node, layout: NodePaths) -> dict[str, File]:
    """Return the files with which a kubelet requests its first client certificate. Later it reads none of them."""
    return {
        layout.kubelet_bootstrap_kubeconfig: File(
            content=kubeconfig.with_token_file(
                server=spec.api_endpoint,
                authority=layout.kubelet_certificate_authority,
                token=paths.BOOTSTRAP_TOKEN,
                user="kubelet-bootstrap",
            )
        ),
        paths.BOOTSTRAP_TOKEN: bootstrap.token_file(node, transient=True),
    }


def _kubeconfig(spec: Spec, authority: str, pair: KeyPair, user: str) -> File:
    """Return the kubeconfig of a service that names the files of its certificate."""
    return File(
        content=kubeconfig.with_paths(
            server=spec.api_endpoint, authority=authority, certificate=pair.certificate, key=pair.key, user=user
        )
    )
