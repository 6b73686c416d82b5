"""What every node has before any service of Kubernetes: kernel modules, kernel settings, routes, pod networking."""

from collections.abc import Iterable

from lab.files import Binary, File, Service, overlay, to_json, to_yaml
from lab.spec import Node, Spec
from lab.units import unit, unit_path
from lab.versions import version

PROGRAMS = "/usr/local/lib/hardway"
"""Where the shell programs of `assets/node` stand on a node."""

STORE = "/var/lib/hardway/store"
"""Where a node keeps binaries and image archives, each under its SHA-256."""

CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
CNI_PLUGINS = "/opt/cni/bin"
CNI_CONFIGURATION = "/etc/cni/net.d"
CNI_VERSION = "1.0.0"

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
    mode = str(node.kube_proxy.get("mode", "iptables"))
    modules = (*MODULES, *(MODULES_OF_PROXY_MODE.get(mode, ()) if node.pod_cidr else ()))
    routes = [f"{other.pod_cidr} {other.address}" for other in spec.nodes if other.pod_cidr and other.name != node.name]
    return Service(
        name="node-setup",
        unit="node-setup.service",
        activation="reload",
        files={
            unit_path("node-setup.service"): File(content=unit("node-setup.service", program=f"{PROGRAMS}/node-setup")),
            "/etc/modules-load.d/kubernetes.conf": File(content=_lines(modules), mode=0o644),
            "/etc/sysctl.d/kubernetes.conf": File(
                content=_lines(f"{name} = {value}" for name, value in KERNEL_SETTINGS.items()), mode=0o644
            ),
            "/etc/kubernetes/pod-routes": File(content=_lines(routes), mode=0o644),
            **_pod_network(node),
        },
        binaries=_pod_network_programs(node),
        check=f'{PROGRAMS}/check-json "$STAGED{CNI_CONFIGURATION}"',
    )


def _pod_network(node: Node) -> dict[str, File]:
    """The CNI configuration: a bridge with the node's pod CIDR, and the loopback interface of each pod.

    containerd watches the folder, so pods that start later use what stands there then.
    """
    if node.pod_cidr is None:
        return {}
    bridge = {
        "cniVersion": CNI_VERSION,
        "name": "bridge",
        "type": "bridge",
        "bridge": "cnio0",
        "isGateway": True,
        "ipMasq": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": str(node.pod_cidr)}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    loopback = {"cniVersion": CNI_VERSION, "name": "lo", "type": "loopback"}
    crictl = {"runtime-endpoint": CONTAINERD_SOCKET, "image-endpoint": CONTAINERD_SOCKET}
    return {
        f"{CNI_CONFIGURATION}/10-bridge.conf": File(content=to_json(overlay(bridge, node.cni))),
        f"{CNI_CONFIGURATION}/99-loopback.conf": File(content=to_json(loopback)),
        "/etc/crictl.yaml": File(content=to_yaml(crictl), mode=0o644),
    }


def _pod_network_programs(node: Node) -> dict[str, Binary]:
    if node.pod_cidr is None:
        return {}
    plugins = {
        f"{CNI_PLUGINS}/{name}": Binary(name=name, version=version("cni-plugins"))
        for name in ("bridge", "loopback", "host-local", "portmap")
    }
    return plugins | {"/usr/local/bin/crictl": Binary(name="crictl", version=version("crictl"))}


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
