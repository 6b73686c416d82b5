"""What every node has before any service of Kubernetes: kernel modules, kernel settings, routes, pod networking."""

import posixpath
from collections.abc import Iterable
from typing import Any

from lab.node.service import Binary, File, Service, overlay, to_json, to_yaml
from lab.node.units import unit, unit_path
from lab.spec import CNI_LIST, Node, NodePaths, Spec, VmSize
from lab.versions import version
from system.files import CHECKOUT

PROGRAMS = "/usr/local/lib/hardway"
"""Where the shell programs of `assets/node` stand on a node."""

KUBECTL = "/usr/local/bin/kubectl"
"""Where kubectl stands on a node that does an administrator's work."""

STORE = "/var/lib/hardway/store"
"""Where a node keeps binaries and image archives, each under its SHA-256."""

CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
CNI_PLUGINS = "/opt/cni/bin"
CNI_CONFIGURATION = "/etc/cni/net.d"
CNI_VERSION = "1.0.0"
BRIDGE = "cnio0"
"""The network interface of a node that its pods are on."""

IMAGE_ROOT = CHECKOUT / "toolchain" / "vm" / "root"
OF_THE_IMAGE = ("/etc/systemd/network/10-pods.link", "/etc/systemd/networkd.conf.d/50-routes.conf")
"""What the lab's own image says to systemd of the interfaces and routes of pods, and another machine has to be told."""

TEMPLATES = "/etc/kubernetes/templates"
"""Where files stand that a node fills in with what its user-data says."""

POD_CIDR_OF_USER_DATA = "@POD_CIDR@"
"""What stands for the pod CIDR in a template: see assets/node/user-data."""

NODE_ENVIRONMENT = "/etc/kubernetes/node.env"
"""The environment file that a node makes of its user-data."""

WORKER_NAME = "WORKER_NAME"
"""The variable in it that has the node's name."""

MODULES = ("br_netfilter", "overlay", "nf_conntrack")
MODULES_OF_PROXY_MODE = {
    "iptables": (),
    "nftables": ("nf_tables",),
    "ipvs": ("ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"),
}

KERNEL_SETTINGS = {
    # Traffic between pods on one bridge passes iptables too, which answers of Services need.
    "net.bridge.bridge-nf-call-iptables": 1,
    "net.bridge.bridge-nf-call-ip6tables": 1,
    "net.ipv4.ip_forward": 1,
    # What the kubelet would set by itself, were it not told to protect kernel defaults
    # (https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/, protectKernelDefaults).
    "vm.overcommit_memory": 1,
    "vm.panic_on_oom": 0,
    "kernel.panic": 10,
    "kernel.panic_on_oops": 1,
    "kernel.keys.root_maxkeys": 1000000,
    "kernel.keys.root_maxbytes": 25000000,
}


def node_setup(spec: Spec, node: Node) -> Service:
    """Modules, kernel settings, routes to the pods of the other nodes, and crictl to look at the containers with.

    A change of it is applied by a reload and restarts nothing.
    """
    layout = spec.layout.of(node)
    settings = layout.kernel_settings
    mode = str(node.kube_proxy.get("mode", "iptables"))
    modules = (*MODULES, *(MODULES_OF_PROXY_MODE.get(mode, ()) if node.pod_cidr else ()))
    from_user_data = _from_user_data(spec, node)
    program = (f"{PROGRAMS}/node-setup", settings, *from_user_data)
    routes = [route.text for route in spec.routes if route.address != node.address]
    return Service(
        name="node-setup",
        unit="node-setup.service",
        activation="reload",
        files={
            unit_path("node-setup.service"): File(content=unit("node-setup.service", program=" ".join(program))),
            "/etc/modules-load.d/kubernetes.conf": File(content=_lines(modules), mode=0o644),
            settings: File(content=_lines(f"{name} = {value}" for name, value in KERNEL_SETTINGS.items()), mode=0o644),
            "/etc/kubernetes/pod-routes": File(content=_lines(routes), mode=0o644),
            **_pod_network(spec, node, layout),
            **_users_and_folders(spec),
            **_of_the_image(spec, node),
        },
        binaries={**_pod_network_programs(node, layout), **_administration(spec, node)},
        check=" && ".join(
            f'{PROGRAMS}/check-json "$STAGED{folder}"'
            for folder in (CNI_CONFIGURATION, *([TEMPLATES] if from_user_data else []))
        ),
        health=f"{PROGRAMS}/node-setup-healthy {settings}"
        + (f" && {PROGRAMS}/user-data check {' '.join(from_user_data)}" if from_user_data else ""),
    )


def taken(spec: Spec, node: Node) -> tuple[str, str, str]:
    """What `assets/node/machine` has to know of a machine that is to be a node, to give it back later."""
    bridge = node.cni.get("bridge", BRIDGE) or "cni0"  # the plugin's own default, where a null took ours away
    return f"{node.name} of lab {spec.name} at {node.address}", bridge, spec.layout.of(node).kubelet_client_certificates


def user_data(spec: Spec, node: Node) -> dict[str, Any]:
    """What the user-data of a node says to the node itself, beside what it says to cloud-init."""
    if not reads_user_data(spec, node):
        return {}
    return {"hardway": {"name": node.name, "pod-cidr": str(node.pod_cidr)}}


def reads_user_data(spec: Spec, node: Node) -> bool:
    """Whether a node takes its name and pod CIDR from its user-data."""
    return spec.identity_from_user_data and node.pod_cidr is not None


def _from_user_data(spec: Spec, node: Node) -> tuple[str, ...]:
    """What is made from user-data: template, the file made from it, environment file. Empty where nothing is."""
    if not reads_user_data(spec, node):
        return ()
    bridge = spec.layout.of(node).cni_bridge
    return (_template(bridge), bridge, NODE_ENVIRONMENT)


def _template(path: str) -> str:
    return f"{TEMPLATES}/{posixpath.basename(path)}"


def _users_and_folders(spec: Spec) -> dict[str, File]:
    """What systemd makes of users and folders, at every boot too: sysusers.d(5), tmpfiles.d(5)."""
    files = {}
    if user := spec.system_user:
        lines = [f"g {user.name} {user.id}", f"u {user.name} {user.id}:{user.id} - {user.home}"]
        files["/etc/sysusers.d/kubernetes.conf"] = File(content=_lines(lines), mode=0o644)
    if spec.node_folders:
        lines = [f"d {folder.path} {folder.mode:04o} {folder.owner.replace(':', ' ')}" for folder in spec.node_folders]
        files["/etc/tmpfiles.d/kubernetes.conf"] = File(content=_lines(lines), mode=0o644)
    return files


def _of_the_image(spec: Spec, node: Node) -> dict[str, File]:
    if isinstance(node.machine, VmSize) and not spec.image:
        return {}
    return {path: File(content=(IMAGE_ROOT / path[1:]).read_text(), mode=0o644) for path in OF_THE_IMAGE}


def _pod_network(spec: Spec, node: Node, layout: NodePaths) -> dict[str, File]:
    """The CNI configuration: a bridge with the node's pod CIDR, and the loopback interface of each pod.

    containerd watches the folder, so pods that start later use what stands there then. Without hairpin mode a bridge
    sends nothing back by the port that it came from, and a pod does not reach itself by a Service. Without a forced
    address it keeps that of the node's former pod CIDR, and no pod of another one is started. As a list of plugins it
    has portmap too, which sees to what a container asks for as its hostPort.
    """
    if node.pod_cidr is None:
        return {}
    filled_in = reads_user_data(spec, node)
    bridge = {
        "cniVersion": CNI_VERSION,
        "name": "bridge",
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "forceAddress": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_CIDR_OF_USER_DATA if filled_in else str(node.pod_cidr)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    configuration = overlay(bridge, node.cni)
    if layout.cni_bridge.endswith(CNI_LIST):
        configuration = _with_host_ports(configuration)
    loopback = {"cniVersion": CNI_VERSION, "name": "lo", "type": "loopback"}
    crictl = {"runtime-endpoint": CONTAINERD_SOCKET, "image-endpoint": CONTAINERD_SOCKET}
    return {
        _template(layout.cni_bridge) if filled_in else layout.cni_bridge: File(content=to_json(configuration)),
        f"{CNI_CONFIGURATION}/99-loopback.conf": File(content=to_json(loopback)),
        "/etc/crictl.yaml": File(content=to_yaml(crictl), mode=0o644),
    }


def _with_host_ports(plugin: dict[str, Any]) -> dict[str, Any]:
    """A list of a plugin and, after it, the one that leads ports of the node to pods.

    What is of the list and not of a plugin stands at its top:
    https://github.com/containernetworking/cni/blob/main/SPEC.md#configuration-format.
    """
    of_list = {key: value for key, value in plugin.items() if key in ("cniVersion", "name")}
    of_plugin = {key: value for key, value in plugin.items() if key not in of_list}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    return {**of_list, "plugins": [of_plugin, portmap]}


def _pod_network_programs(node: Node, layout: NodePaths) -> dict[str, Binary]:
    if node.pod_cidr is None:
        return {}
    plugins = {
        f"{CNI_PLUGINS}/{name}": Binary(name=name, version=version("cni-plugins"))
        for name in ("bridge", "loopback", "host-local", "portmap")
    }
    return plugins | {f"{layout.binaries}/crictl": Binary(name="crictl", version=version("crictl"))}


def _administration(spec: Spec, node: Node) -> dict[str, Binary]:
    """What does an administrator's work on a worker, where there is no control plane to do it on."""
    if not (spec.join and spec.administered):
        return {}
    return {KUBECTL: Binary(name="kubectl", version=node.kubernetes_version)}


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
