"""The basis of every node: kernel modules, kernel settings, routes and rules, users, folders, and the pod network."""

import posixpath
from collections.abc import Iterable
from typing import Any

from lab.node import paths, pod_network
from lab.node.documents import overlay, to_json, to_yaml
from lab.node.service import Binary, File, Service
from lab.node.units import ASSETS, unit, unit_path
from lab.spec import CNI_LIST, Node, NodePaths, PodNetwork, Spec, VmSize

CNI_VERSION = "1.0.0"
"""The version of the CNI specification that the configuration follows."""

NODE_SETUP = "node-setup"
"""The name of the service."""

NETWORK_FILES = ("/etc/systemd/network/10-pods.link", "/etc/systemd/networkd.conf.d/50-routes.conf")
"""The files in `assets/network`, which keep systemd from changing the interfaces and routes of pods."""

BASE_KERNEL_MODULES = ("br_netfilter", "overlay", "nf_conntrack")
"""The kernel modules that every node loads."""

KUBE_PROXY_KERNEL_MODULES = {
    "iptables": (),
    "nftables": ("nf_tables",),
    "ipvs": ("ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"),
}
"""kube-proxy's mode to the kernel modules that it needs."""

KUBE_PROXY_MODE = "iptables"
"""kube-proxy's mode, unless the configuration overrides it."""

NETWORK_POLICY_KERNEL_MODULES = ("nf_tables", "nft_queue", "nfnetlink_queue")
"""The kernel modules that kube-network-policies needs."""

KERNEL_SETTINGS = {
    # Traffic between pods on one bridge must pass iptables too, because replies from Services depend on it.
    "net.bridge.bridge-nf-call-iptables": 1,
    "net.bridge.bridge-nf-call-ip6tables": 1,
    "net.ipv4.ip_forward": 1,
    # With protectKernelDefaults, the kubelet requires these values instead of setting them
    # (https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/).
    "vm.overcommit_memory": 1,
    "vm.panic_on_oom": 0,
    "kernel.panic": 10,
    "kernel.panic_on_oops": 1,
    "kernel.keys.root_maxkeys": 1000000,
    "kernel.keys.root_maxbytes": 25000000,
    # With the kernel's 128 instances for each user, a node with many pods fails with "too many open files". These are
    # the limits of most distributions of Kubernetes.
    "fs.inotify.max_user_instances": 8192,
    "fs.inotify.max_user_watches": 524288,
}
"""Kernel setting to value."""


def node_setup(spec: Spec, node: Node) -> Service:
    """Return the service that prepares a node for Kubernetes. It also brings crictl, to inspect containers.

    A change is applied by a reload and restarts nothing.
    """
    layout = spec.layout.of(node)
    user_data_files = _user_data_files(spec, node)
    program = (f"{paths.PROGRAMS}/node-setup", layout.kernel_settings, *user_data_files)
    settings = [f"{name} = {value}" for name, value in overlay(KERNEL_SETTINGS, node.sysctls).items()]
    json_folders = (paths.CNI_CONFIGURATION, *([paths.TEMPLATES] if user_data_files else []))
    return Service(
        name=NODE_SETUP,
        unit="node-setup.service",
        activation="reload",
        files={
            unit_path("node-setup.service"): File(content=unit("node-setup.service", program=" ".join(program))),
            paths.KERNEL_MODULES: File(content=_lines(_kernel_modules(spec, node)), mode=0o644),
            layout.kernel_settings: File(content=_lines(settings), mode=0o644),
            paths.POD_ROUTES: File(content=_lines(pod_network.routes(spec, node)), mode=0o644),
            paths.POD_NETWORK_RULES: File(content=pod_network.rules(spec), mode=0o644),
            **_pod_network_files(spec, node, layout),
            **_users_and_folders(spec),
            **_network_files(spec, node),
            **_clock_files(node),
            **_drain_files(spec, node),
            **_confirmation_files(spec),
        },
        binaries={**_pod_network_binaries(spec, node, layout), **_administrator_binaries(spec, node)},
        tools=_administrator_tools(spec, node),
        check=" && ".join(
            [
                f'nft --check --file "$STAGED{paths.POD_NETWORK_RULES}"',
                *(f'{paths.PROGRAMS}/check-json "$STAGED{folder}"' for folder in json_folders),
                *([f"{paths.PROGRAMS}/check-pod-network"] if node.pod_cidr else []),
            ]
        ),
        health=f"{paths.PROGRAMS}/node-setup-healthy {layout.kernel_settings}"
        + (f" && {paths.PROGRAMS}/user-data check {' '.join(user_data_files)}" if user_data_files else ""),
    )


def claim(spec: Spec, node: Node) -> tuple[str, ...]:
    """Return the arguments of `machine claim`, which turns an existing machine into a node.

    The machine remembers the first three until it is released: the description of the node that claims it, the network
    interface of the node's pods, and the folder of the kubelet's client certificates. The others are the name of the
    lab's CNI configuration, if it has one, and the kubelet's resolvConf if it is configured. See `assets/node/machine`.
    """
    bridge = node.cni.get("bridge", paths.CNI_BRIDGE) or "cni0"  # the plugin's default, if a null removes the field
    layout = spec.layout.of(node)
    description = f"{node.name} of lab {spec.name} at {node.address}"
    cni = posixpath.basename(layout.cni_bridge) if spec.pod_network is PodNetwork.BRIDGE else ""
    resolv_conf = configured_resolv_conf(node)
    checked = (cni, resolv_conf) if resolv_conf else (cni,) if cni else ()
    return description, bridge, layout.kubelet_client_certificates, *checked


def configured_resolv_conf(node: Node) -> str:
    """Return the file from which pods get nameservers if the configuration sets it, otherwise an empty string."""
    # A null removes the field, and /etc/resolv.conf is the kubelet's default.
    return (node.kubelet["resolvConf"] or "/etc/resolv.conf") if "resolvConf" in node.kubelet else ""


def user_data(spec: Spec, node: Node) -> dict[str, Any]:
    """Return the part of a node's user-data that the node itself reads. cloud-init ignores it."""
    if not reads_user_data(spec, node):
        return {}
    return {"hardway": {"name": node.name, "pod-cidr": str(node.pod_cidr)}}


def reads_user_data(spec: Spec, node: Node) -> bool:
    """Return True if a node reads its name and pod CIDR from its user-data."""
    return spec.identity_from_user_data and node.pod_cidr is not None


def _user_data_files(spec: Spec, node: Node) -> tuple[str, ...]:
    """Return three paths: a template, the file that the node makes from it, and the environment file.

    The result is empty if the node does not read its user-data.
    """
    if not reads_user_data(spec, node):
        return ()
    bridge = spec.layout.of(node).cni_bridge
    return (_template(bridge), bridge, paths.USER_DATA_ENVIRONMENT)


def _template(path: str) -> str:
    """Return the path of the template of a file."""
    return f"{paths.TEMPLATES}/{posixpath.basename(path)}"


def kube_proxy_mode(node: Node) -> str:
    """Return the mode of the node's kube-proxy."""
    return str(node.kube_proxy.get("mode") or KUBE_PROXY_MODE)


def _kernel_modules(spec: Spec, node: Node) -> tuple[str, ...]:
    modules = [*BASE_KERNEL_MODULES]
    if node.pod_cidr and spec.kube_proxy_enabled:
        modules += KUBE_PROXY_KERNEL_MODULES.get(kube_proxy_mode(node), ())
    if node.pod_cidr and spec.network_policy:
        modules += NETWORK_POLICY_KERNEL_MODULES
    return tuple(dict.fromkeys(modules))


def _users_and_folders(spec: Spec) -> dict[str, File]:
    """Return the files from which systemd creates users and folders at every boot: sysusers.d(5), tmpfiles.d(5)."""
    files = {}
    if user := spec.system_user:
        lines = [f"g {user.name} {user.id}", f"u {user.name} {user.id}:{user.id} - {user.home}"]
        files[paths.SYSTEM_USERS] = File(content=_lines(lines), mode=0o644)
    if spec.node_folders:
        lines = [f"d {folder.path} {folder.mode:04o} {folder.owner.replace(':', ' ')}" for folder in spec.node_folders]
        files[paths.NODE_FOLDERS] = File(content=_lines(lines), mode=0o644)
    return files


def _network_files(spec: Spec, node: Node) -> dict[str, File]:
    """Return `NETWORK_FILES`, except for a VM that starts from the lab's own image, which contains them."""
    if isinstance(node.machine, VmSize) and not spec.image:
        return {}
    texts = {path: (ASSETS / "network" / path.lstrip("/")).read_text() for path in NETWORK_FILES}
    return {path: File(content=text, mode=0o644) for path, text in texts.items()}


def _clock_files(node: Node) -> dict[str, File]:
    """Return the unit that keeps the clock of a VM right. An existing machine has its own time service."""
    if not isinstance(node.machine, VmSize):
        return {}
    text = unit("clock.service", program=f"{paths.PROGRAMS}/clock run")
    return {unit_path("clock.service"): File(content=text)}


def _drain_files(spec: Spec, node: Node) -> dict[str, File]:
    """Return the file with the limits of a drain, on a node that drains nodes: see `lab.spec.Spec.administrator`."""
    if node not in map(spec.administrator, spec.kubelets):
        return {}
    return {paths.DRAIN_LIMITS: File(content=_lines([" ".join(spec.drain.arguments)]), restarts=False)}


def _confirmation_files(spec: Spec) -> dict[str, File]:
    """Return the file with the time for a confirmation. All other services come after it: see `assets/node/confirm`."""
    if spec.confirm_within is None:
        return {}
    return {paths.CONFIRM_WITHIN: File(content=_lines([str(spec.confirm_within)]), restarts=False)}


def _pod_network_files(spec: Spec, node: Node, layout: NodePaths) -> dict[str, File]:
    """Return the files that every node with pods has, and the CNI configuration of the lab's own pod network."""
    if node.pod_cidr is None:
        return {}
    crictl = {"runtime-endpoint": paths.CONTAINERD_SOCKET, "image-endpoint": paths.CONTAINERD_SOCKET}
    return {
        **(_cni_files(spec, node, layout) if spec.pod_network is PodNetwork.BRIDGE else {}),
        paths.CRICTL_CONFIGURATION: File(content=to_yaml(crictl), mode=0o644),
    }


def _cni_files(spec: Spec, node: Node, layout: NodePaths) -> dict[str, File]:
    """Return the CNI configuration: a bridge with the node's pod CIDR, and the loopback interface of each pod.

    containerd watches the folder, so pods that start later use a changed configuration.
    """
    is_template = reads_user_data(spec, node)
    bridge = {
        "cniVersion": CNI_VERSION,
        "name": "bridge",
        "type": "bridge",
        "bridge": paths.CNI_BRIDGE,
        "isGateway": True,
        # Otherwise the bridge keeps an address of the node's former pod CIDR, and no pod of the new one can start.
        "forceAddress": True,
        # The rules of lab/node/pod_network.py masquerade. The plugin would also translate traffic to other nodes.
        "ipMasq": False,
        # Otherwise the bridge never sends a frame back through the port on which it arrived, so that a pod cannot
        # reach itself through a Service.
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": paths.POD_CIDR_PLACEHOLDER if is_template else str(node.pod_cidr)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    configuration = overlay(bridge, node.cni)
    if layout.cni_bridge.endswith(CNI_LIST):
        configuration = _plugin_list(configuration)
    loopback = {"cniVersion": CNI_VERSION, "name": "lo", "type": "loopback"}
    return {
        _template(layout.cni_bridge) if is_template else layout.cni_bridge: File(content=to_json(configuration)),
        f"{paths.CNI_CONFIGURATION}/99-loopback.conf": File(content=to_json(loopback)),
    }


def _plugin_list(plugin: dict[str, Any]) -> dict[str, Any]:
    """Return a list of a plugin and portmap, which forwards the `hostPort` of a container to its pod.

    The version and the name belong to the list, not to a plugin:
    https://github.com/containernetworking/cni/blob/main/SPEC.md#configuration-format.
    """
    list_fields = {key: value for key, value in plugin.items() if key in ("cniVersion", "name")}
    plugin_fields = {key: value for key, value in plugin.items() if key not in list_fields}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {**list_fields, "plugins": [plugin_fields, portmap]}


def _pod_network_binaries(spec: Spec, node: Node, layout: NodePaths) -> dict[str, Binary]:
    if node.pod_cidr is None:
        return {}
    plugins = {
        f"{paths.CNI_PLUGINS}/{name}": Binary(name=name, version=spec.version("cni-plugins"))
        for name in ("bridge", "loopback", "host-local", "portmap")
    }
    return plugins | {f"{layout.binaries}/crictl": Binary(name="crictl", version=spec.version("crictl"))}


def _administrator_binaries(spec: Spec, node: Node) -> dict[str, Binary]:
    """Return kubectl for a worker that joins an existing cluster, because the lab has no control plane to run it on."""
    if not (spec.join and spec.administered):
        return {}
    return {paths.KUBECTL: Binary(name="kubectl", version=node.kubernetes_version)}


def _administrator_tools(spec: Spec, node: Node) -> dict[str, Binary]:
    """Return kubectl for the second control plane, if it registers the node of the first.

    The first one has kubectl for the add-ons.
    """
    if node not in spec.control_planes[1:] or node not in map(spec.administrator, spec.kubelets):
        return {}
    return {paths.KUBECTL: Binary(name="kubectl", version=node.kubernetes_version)}


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
