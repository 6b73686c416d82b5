"""The places, ports and sockets on a node that more than one module or node program uses.

Paths that a stack can choose itself are in `lab.spec.NodePaths`. The shell programs of `assets/node` read these
constants from `node.env`, which `node_environment` renders.
"""

import shlex

from lab.spec import API_PORT as API_PORT
from lab.spec import ENCRYPTABLE_RESOURCES
from lab.versions import node_packages

PROGRAMS = "/usr/local/lib/hardway"
"""The folder of the shell programs of `assets/node`."""

PROGRAMS_ENVIRONMENT = f"{PROGRAMS}/node.env"
"""The file that gives the programs the constants of this module: see `node_environment`."""

STATE = "/var/lib/hardway"
"""The folder in which the programs keep their state."""

STORE = f"{STATE}/store"
"""The folder of binaries and image archives, each under its SHA-256."""

INCOMING = f"{STATE}/incoming"
"""The folder of artifacts that are being received."""

SERVICES = f"{STATE}/services"
"""The folder of the services' state: a folder for each service."""

CLAIM = f"{STATE}/machine"
"""The file that records which node has claimed an existing machine: see `assets/node/machine`."""

RENDERED_FROM_USER_DATA = f"{STATE}/user-data"
"""The file that names the file rendered last from a template: see `assets/node/user-data`."""

CLOUD_INIT_USER_DATA = "/var/lib/cloud/instance/user-data.txt"
"""The file in which cloud-init keeps the user-data of the node."""

USER_DATA_ENVIRONMENT = "/etc/kubernetes/node.env"
"""The environment file that a node makes from its user-data, for systemd units."""

WORKER_NAME = "WORKER_NAME"
"""The variable in `USER_DATA_ENVIRONMENT` that has the node's name."""

TEMPLATES = "/etc/kubernetes/templates"
"""The folder of templates that a node fills in from its user-data."""

POD_CIDR_PLACEHOLDER = "@POD_CIDR@"
"""The text that a node replaces in a template by its pod CIDR."""

UNITS = "/etc/systemd/system"
"""The folder of systemd units."""

BINARIES = "/usr/local/bin"
"""The folder of the control plane's binaries."""

KUBECTL = f"{BINARIES}/kubectl"
"""kubectl, on a node that does an administrator's work."""

ETCD = f"{BINARIES}/etcd"

ETCDCTL = f"{BINARIES}/etcdctl"
"""etcdctl, on every control plane."""

ETCDCTL_COMMAND = "/usr/local/sbin/etcdctl"
"""The command `etcdctl` of root, whose PATH has this folder first. It runs `assets/node/etcdctl`."""

ETCDUTL = f"{BINARIES}/etcdutl"
"""etcdutl, which restores snapshots, on every control plane."""

KUBE_APISERVER = f"{BINARIES}/kube-apiserver"

KUBERNETES_CONFIGURATION = "/etc/kubernetes"
"""The folder of configuration that belongs to no single service."""

KUBERNETES_DATA = "/var/lib/kubernetes"
"""The folder of the API server's certificates and keys."""

KUBE_APISERVER_AUTHORITY = f"{KUBERNETES_DATA}/ca.crt"
"""The trusted certificates of the cluster's authority on a control plane."""

SERVICE_ACCOUNT_KEYS = f"{KUBERNETES_DATA}/service-accounts.pub"
"""The public keys with which API servers check service account tokens, after the first rotation of the key."""

KUBE_PROXY_DATA = "/var/lib/kube-proxy"
"""The folder of kube-proxy, where a stack chooses no other."""

KERNEL_MODULES = "/etc/modules-load.d/kubernetes.conf"
"""The file that lists the kernel modules of a node: see modules-load.d(5)."""

POD_ROUTES = "/etc/kubernetes/pod-routes"
"""The file that lists the routes to pods, one a line: a range, and the address of a node or `unreachable`."""

POD_NETWORK_RULES = "/etc/kubernetes/pod-network.nft"
"""The file with the node's nftables rules about the addresses of pods and Services: see `lab/node/pod_network.py`."""

POD_NETWORK_RULES_LOADED = "/run/hardway/pod-network.nft"
"""The file with those rules as nft lists them, which `node-setup` writes after it has loaded them."""

SYSTEM_USERS = "/etc/sysusers.d/kubernetes.conf"
"""The file that lists system users: see sysusers.d(5)."""

NODE_FOLDERS = "/etc/tmpfiles.d/kubernetes.conf"
"""The file that lists the folders which systemd creates at boot: see tmpfiles.d(5)."""

ROUTE_PROTOCOL = "kubernetes"
"""The name by which `ip route` marks the lab's own routes."""

ROUTE_PROTOCOL_NUMBER = 201
"""The number of `ROUTE_PROTOCOL`, which the kernel stores."""

ROUTE_PROTOCOLS = "/etc/iproute2/rt_protos.d/kubernetes.conf"
"""The file that gives `ROUTE_PROTOCOL` its number: see ip-route(8)."""

CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
"""The address of containerd's CRI socket."""

CONTAINERD_CONFIGURATION = "/etc/containerd/config.toml"
"""containerd's configuration file."""

CONTAINERD_REGISTRIES = "/etc/containerd/certs.d"
"""The folder of the registries, which containerd reads at every pull: see `lab.node.registries`."""

CONTAINERD_DATA = "/var/lib/containerd"
"""The folder of containerd's images and containers."""

CONTAINERD_NAMESPACE = "k8s.io"
"""The containerd namespace in which the CRI plugin keeps images and containers."""

PIN_LABEL = "io.cri-containerd.pinned"
"""The label, with the value `pinned`, of an image that the kubelet never removes.

Source: https://github.com/containerd/containerd/blob/main/internal/cri/labels/labels.go
"""

CRICTL_CONFIGURATION = "/etc/crictl.yaml"
"""The configuration file that crictl reads by default."""

CNI_PLUGINS = "/opt/cni/bin"
"""The folder of the CNI plugins."""

CNI_CONFIGURATION = "/etc/cni/net.d"
"""The folder of the CNI configuration, which containerd watches."""

CNI_BRIDGE = "cnio0"
"""The network interface of a node to which its pods are connected."""

KUBELET_DATA = "/var/lib/kubelet"
"""The kubelet's root directory."""

KUBELET_HEALTH_PORT = 10248
"""The port on 127.0.0.1 of the kubelet's health endpoint."""

KUBE_PROXY_HEALTH_PORT = 10256
"""The port on 127.0.0.1 of kube-proxy's health endpoint."""

KUBE_NETWORK_POLICIES_DATA = "/var/lib/kube-network-policies"
"""The folder of kube-network-policies."""

KUBE_NETWORK_POLICIES_HEALTH_PORT = 10261
"""The port on 127.0.0.1 of the health endpoint of kube-network-policies."""

KUBE_PROXY_METRICS_PORT = 10249
"""The port on 127.0.0.1 of kube-proxy's metrics."""

KUBE_CONTROLLER_MANAGER_PORT = 10257
"""The port on 127.0.0.1 on which kube-controller-manager serves."""

KUBE_SCHEDULER_PORT = 10259
"""The port on 127.0.0.1 on which kube-scheduler serves."""

RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
"""The file from which pods get the node's DNS servers.

It is not the file of resolved's stub: the stub's loopback address would lead a pod to itself.
"""

LOOPBACK_NAMESERVER = "^nameserver[[:space:]]+(127[.]|::1([[:space:]]|$))"
"""Matches a line of a resolv.conf that names a server on loopback."""

ETCD_CONFIGURATION = "/etc/etcd"
"""The folder of etcd's certificates and of `ETCD_MEMBERS`."""

ETCD_MEMBERS = f"{ETCD_CONFIGURATION}/members"
"""The file that lists the addresses of all control planes, one a line, the first control plane first."""

ETCD_DATA = "/var/lib/etcd"
"""etcd's data directory."""

ETCD_ENVIRONMENT = "/run/etcd-member.env"
"""The environment file of etcd's first start: see `assets/node/etcd-member`."""

ETCD_NEWCOMERS = f"{STATE}/etcd-newcomers"
"""The folder in which the first control plane notes the control planes that have no etcd data yet."""

ETCD_RESTORE = f"{ETCD_CONFIGURATION}/restore.db"
"""The snapshot from which a new etcd of the first control plane is restored: see `assets/node/etcd-member`."""

DRAIN_LIMITS = "/etc/kubernetes/drain-limits"
"""The limits when a node is drained, on the node that does the administrator's work: GRACE, TIMEOUT and ACTION of
`assets/node/node-registration`."""

CONFIRM_WITHIN = "/etc/kubernetes/confirm-within"
"""The file with the seconds within which a change must be confirmed: see `assets/node/confirm`. Absent if none must."""

CONFIRM_BY = f"{STATE}/confirm-by"
"""The file with the time at which the node returns to the versions before, while changes are not confirmed."""

ETCD_KEPT = f"{STATE}/etcd-kept.db"
"""The snapshot of a recreated control plane's former etcd. It precedes the configured one, and is deleted after use."""

ETCD_SNAPSHOTS = f"{STATE}/etcd-snapshots"
"""The folder of the snapshots that a control plane takes of its etcd: see `assets/node/etcd-snapshot`."""

ETCD_CLIENT_PORT = 2379
"""The port on which etcd serves clients."""

ETCD_PEER_PORT = 2380
"""The port on which etcd serves other members."""

ETCD_HEALTH_PORT = 2381
"""The port on 127.0.0.1 on which etcd serves its health and metrics without TLS."""

ADDONS = "/var/lib/addons"
"""The folder of the objects of add-ons, and of the administrator's credentials that apply them."""

ADMIN_KUBECONFIG = f"{ADDONS}/kubeconfig"
"""The administrator's kubeconfig on the first control plane."""

BOOTSTRAP_TOKENS = "/var/lib/bootstrap-tokens"
"""The folder in which the first control plane has the bootstrap token of each node, under the node's name."""

BOOTSTRAP_TOKEN = "/run/hardway/bootstrap-token"
"""The file that has a node's bootstrap token while its kubelet is being applied."""

KEEPALIVED_CONFIGURATION = "/etc/keepalived/keepalived.conf"
"""keepalived's configuration file."""

KEEPALIVED_INTERFACE = "/run/keepalived-interface.conf"
"""The part of keepalived's configuration that names the node's network interface, written at each start."""

HAPROXY_CONFIGURATION = "/etc/haproxy/haproxy.cfg"
"""haproxy's configuration file."""

ENCRYPTION_CONFIGURATION = f"{KUBERNETES_DATA}/encryption-config.json"
"""The API server's EncryptionConfiguration, which holds the keys."""

ENCRYPTION_REPORT = f"{STATE}/encryption"
"""The file with the number of objects by resource and key, as `assets/node/encryption` counted them last."""

ENCRYPTABLE = " ".join(ENCRYPTABLE_RESOURCES)
"""The resources that a lab can encrypt in etcd."""

HAPROXY_CLIENT = "/etc/haproxy/client.pem"
"""The client certificate and its key with which haproxy reads the health of the API servers."""

HAPROXY_AUTHORITY = "/etc/haproxy/ca.crt"
"""The certificates of the API servers' authority that haproxy trusts, after the first rotation of that authority."""

FINAL_PATHS = " ".join((ETCD, KUBE_APISERVER, ENCRYPTION_CONFIGURATION, f"{UNITS}/encryption.service"))
"""The files whose change `assets/node/service` does not undo later, because it could make data unreadable.

A new etcd or API server may have changed the stored data. Objects in etcd may be encrypted with a new key.
"""

AUDIT_POLICY = f"{KUBERNETES_CONFIGURATION}/audit-policy.yaml"
"""The API server's audit policy."""

AUDIT_LOG = "/var/log/kubernetes/audit.log"
"""The API server's audit log. systemd creates the folder, see `assets/units/kube-apiserver.service`."""

TRANSIENT_ERRORS = "|".join(
    (
        *("Unable to connect", "connection (lost|refused|reset)", "connection to the server .* was refused"),
        *("TLS handshake timeout", "i/o timeout", "EOF$"),
        *("currently unable to handle the request", "in the time allotted", "apiserver not ready", "Please retry"),
        "(etcdserver: (leader changed|no leader)|request timed out)",
    )
)
"""Matches an error of kubectl that passes: the API server, or etcd behind it, restarts or is slow."""

WORKER_UNITS = " ".join(
    f"{name}.service"
    for name in ("node-setup", "containerd", "kubelet", "kubelet-images", "kube-proxy", "kube-network-policies")
)
"""The units of a worker."""

_IN_SHELL = (
    "PROGRAMS",
    "STATE",
    "STORE",
    "INCOMING",
    "SERVICES",
    "CLAIM",
    "RENDERED_FROM_USER_DATA",
    "CLOUD_INIT_USER_DATA",
    "TEMPLATES",
    "POD_CIDR_PLACEHOLDER",
    "WORKER_UNITS",
    "WORKER_NAME",
    "UNITS",
    "ETCD",
    "ETCDCTL",
    "ETCDUTL",
    "KUBERNETES_CONFIGURATION",
    "KUBERNETES_DATA",
    "KUBE_PROXY_DATA",
    "KERNEL_MODULES",
    "POD_ROUTES",
    "POD_NETWORK_RULES",
    "POD_NETWORK_RULES_LOADED",
    "SYSTEM_USERS",
    "NODE_FOLDERS",
    "ROUTE_PROTOCOL",
    "ROUTE_PROTOCOL_NUMBER",
    "ROUTE_PROTOCOLS",
    "CONTAINERD_CONFIGURATION",
    "CONTAINERD_REGISTRIES",
    "CONTAINERD_DATA",
    "CONTAINERD_NAMESPACE",
    "PIN_LABEL",
    "CNI_PLUGINS",
    "CNI_CONFIGURATION",
    "KUBELET_DATA",
    "KUBELET_HEALTH_PORT",
    "RESOLV_CONF",
    "LOOPBACK_NAMESERVER",
    "ETCD_CONFIGURATION",
    "ETCD_MEMBERS",
    "ETCD_DATA",
    "ETCD_ENVIRONMENT",
    "ETCD_NEWCOMERS",
    "ETCD_RESTORE",
    "ETCD_KEPT",
    "DRAIN_LIMITS",
    "CONFIRM_WITHIN",
    "CONFIRM_BY",
    "FINAL_PATHS",
    "ETCD_SNAPSHOTS",
    "ETCD_CLIENT_PORT",
    "ETCD_PEER_PORT",
    "ADMIN_KUBECONFIG",
    "ENCRYPTION_CONFIGURATION",
    "ENCRYPTION_REPORT",
    "ENCRYPTABLE",
    "TRANSIENT_ERRORS",
)
"""The constants that the shell programs use."""


def node_environment() -> str:
    """Return the text of `PROGRAMS_ENVIRONMENT`: a shell assignment for each constant that the programs use.

    `NODE_PACKAGES` has a line for each package that every node needs: a command, and the package that brings it.
    """
    values = {name: str(globals()[name]) for name in _IN_SHELL}
    values["NODE_PACKAGES"] = "\n".join(
        f"{package.command} {package.name}"
        for package in node_packages().values()
        if package.command and not package.load_balancer
    )
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in values.items()]
    return "# Rendered by lab/node/paths.py for the programs in this folder.\n" + "".join(lines)


NODE_ENVIRONMENT = node_environment()
"""The text of `PROGRAMS_ENVIRONMENT`, which is the same on every node of every lab."""
