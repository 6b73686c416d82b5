"""The spec: everything that a lab is, typed and already checked.

`lab.config.parse` makes one from a stack's configuration and refuses what cannot work; the rest of `lab` renders files
from it, and `components` makes resources from it. Nothing here changes once made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lab.certificates import Certificate, PrivateKey

API_PORT = 6443
"""Where every API server listens."""

MAX_PODS = 110
"""The kubelet's maxPods in every lab, unless the configuration overrides it."""

CNI_LIST = ".conflist"
"""How the name of a CNI configuration ends that is a list of plugins; that of a single one ends with .conf."""


class Role(StrEnum):
    """What a node is for. The value is also its `node-role.kubernetes.io/` label."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it, as Kubernetes spells it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Virtualization(StrEnum):
    """How the VMs run: `auto` takes KVM where a kernel boots under it, and emulation elsewhere."""

    AUTO = "auto"
    KVM = "kvm"
    QEMU = "qemu"


def network_domain(lab: str) -> str:
    """The DNS domain of the network that a lab makes for its VMs. lab: its name."""
    return f"{lab}.local"


def fqdn(node: str, domain: str) -> str:
    """A node's name with a domain: its own where it has one, else that of the network."""
    return node if "." in node else f"{node}.{domain}"


@dataclass(frozen=True, kw_only=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: TaintEffect

    def __str__(self) -> str:
        """The taint as kubectl spells it."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True, kw_only=True)
class VmSize:
    """The VM that carries a node.

    memory is in MiB, disk in GiB.
    """

    vcpus: int
    memory: int
    disk: int


@dataclass(frozen=True, kw_only=True)
class ExistingMachine:
    """A machine that carries a node and was there before: how it is reached.

    user: root, or one that may use sudo without a password. host_key: the public key that it must prove to have.
    """

    user: str
    port: int
    private_key: str = field(repr=False)
    host_key: str


@dataclass(frozen=True, kw_only=True)
class Node:
    """One node: the machine, its place in the networks, and what its services are told.

    `name` may have a domain, as node-0.example.com, and is the host name of a VM as it stands.
    `kubelet`, `kube_proxy`, `containerd` and `cni` are fields laid over the defaults of `lab`, those of the whole lab
    and those of this node already merged. `pod_cidr` is None for a control plane that runs no pods, and is
    no node of the cluster then.
    """

    name: str
    role: Role
    address: IPv4Address
    machine: VmSize | ExistingMachine
    kubernetes_version: str
    pod_cidr: IPv4Network | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    kubelet: Mapping[str, Any] = field(default_factory=dict)
    kube_proxy: Mapping[str, Any] = field(default_factory=dict)
    containerd: Mapping[str, Any] = field(default_factory=dict)
    cni: Mapping[str, Any] = field(default_factory=dict)

    @property
    def api_server(self) -> str:
        """The URL of the API server on this very node, a control plane."""
        return f"https://{self.address}:{API_PORT}"


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The address ranges of a lab.

    network_cidr: the libvirt network that the VMs are on; its first address is the host's.
    cluster_cidr: all pods; every node's pod CIDR lies in it.
    service_cidr: all Services; its first address is the API server's, `cluster_dns` lies in it.
    """

    network_cidr: IPv4Network
    cluster_cidr: IPv4Network
    service_cidr: IPv4Network
    cluster_dns: IPv4Address
    cluster_domain: str

    @property
    def gateway(self) -> IPv4Address:
        """The host's address on the VMs' network."""
        return self.network_cidr[1]

    @property
    def api_service(self) -> IPv4Address:
        """The address of the Service `kubernetes`: the API server always takes the first of the service CIDR."""
        return self.service_cidr[1]


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """How long certificates live, in hours, and how long before their end `pulumi up` renews them."""

    authority_validity: int
    validity: int
    renewal: int


@dataclass(frozen=True, kw_only=True)
class ControlPlaneFlags:
    """Command-line flags laid over the defaults of `lab`: flag name without dashes to value."""

    etcd: Mapping[str, str] = field(default_factory=dict)
    kube_apiserver: Mapping[str, str] = field(default_factory=dict)
    kube_controller_manager: Mapping[str, str] = field(default_factory=dict)
    kube_scheduler: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NodePaths:
    """Where the files of what runs pods stand on a node: absolute paths, in which `{name}` stands for the node's name.

    binaries: a folder. kubelet_client_certificates: the folder in which the kubelet keeps the certificates that the
    cluster issues to it. cni_bridge: by its ending a single plugin or a list of them, see CNI_LIST.
    """

    binaries: str
    kubelet_configuration: str
    kubelet_kubeconfig: str
    kubelet_bootstrap_kubeconfig: str
    kubelet_client_certificates: str
    kubelet_certificate: str
    kubelet_key: str
    kubelet_certificate_authority: str
    kube_proxy_configuration: str
    kube_proxy_kubeconfig: str
    kube_proxy_certificate: str
    kube_proxy_key: str
    kube_proxy_certificate_authority: str
    cni_bridge: str
    kernel_settings: str

    def of(self, node: Node) -> "NodePaths":
        """The layout on one node."""
        return NodePaths(**{name: path.replace("{name}", node.name) for name, path in self.paths.items()})

    @property
    def paths(self) -> dict[str, str]:
        """Every path by the name of what stands there."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def kubelet_client_certificate(self) -> str:
        """The file that always holds the last certificate that the cluster issued to the kubelet, with its key."""
        return f"{self.kubelet_client_certificates}/kubelet-client-current.pem"


@dataclass(frozen=True, kw_only=True)
class SystemUser:
    """A system user, and the group of its name. id: the number of both. home: its home folder."""

    name: str
    id: int
    home: str


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder that a node has. mode: permission bits. owner: `user:group`."""

    path: str
    mode: int
    owner: str


@dataclass(frozen=True, kw_only=True)
class PodRoute:
    """Through which node the pods of a range are reached."""

    pod_cidr: IPv4Network
    address: IPv4Address

    @cached_property
    def text(self) -> str:
        """The route as a line of a node's list of routes. Every other node has the same line."""
        return f"{self.pod_cidr} {self.address}"


@dataclass(frozen=True, kw_only=True)
class GivenCertificate:
    """A certificate that was made elsewhere, with its key. chain: itself, and what else goes with it behind."""

    chain: tuple[Certificate, ...]
    key: PrivateKey

    @property
    def certificate(self) -> Certificate:
        """The certificate itself."""
        return self.chain[0]


@dataclass(frozen=True, kw_only=True)
class Join:
    """A cluster that is there already.

    endpoint: the URL of its API server.
    authorities: the certificates that are trusted. signer: the one of them that the lab signs with, None for no key.
    bootstrap_token: by which kubelets get their client certificates, empty for none; secret.
    certificates: those that need no signing, by common name.
    kubeconfig: an administrator's, empty for none; secret.
    """

    endpoint: str
    authorities: tuple[Certificate, ...]
    signer: GivenCertificate | None
    bootstrap_token: str = field(repr=False)
    certificates: Mapping[str, GivenCertificate]
    kubeconfig: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A whole lab.

    max_unavailable: how many workers at a time may restart a service in a change: a number, or a percentage of the
    workers such as "25%".
    drain_grace_period: seconds that pods have to end when their node leaves.
    health_timeout: seconds that a service may take until it is healthy.
    image: URL or path of a cloud image for the VMs; None for the one that the lab builds.
    tls_bootstrap: whether the cluster issues the kubelets' client certificates, rather than the lab.
    system_user, node_folders: what every node has beside what its services need; None and empty for nothing.
    api_address: the address of the load balancer before the API servers; None where there is none.
    host_routes: whether the host gets routes to the pods.
    identity_from_user_data: whether the nodes that run pods take name and pod CIDR from their user-data.
    join: the cluster that the workers join; there are no control planes then. None where the lab has its own.
    network: the name of a libvirt network that is there already, None for one of the lab's own.
    pod_routes: routes to pods of nodes that are not of the lab.
    """

    name: str
    kubernetes_version: str
    control_planes: tuple[Node, ...]
    workers: tuple[Node, ...]
    networks: Networks
    certificates: Certificates
    flags: ControlPlaneFlags
    max_unavailable: int | str
    drain_grace_period: int
    health_timeout: int
    virtualization: Virtualization
    libvirt_uri: str
    image: str | None
    dns_addon: bool
    tls_bootstrap: bool
    layout: NodePaths
    system_user: SystemUser | None
    node_folders: tuple[Folder, ...]
    api_address: IPv4Address | None = None
    host_routes: bool = False
    identity_from_user_data: bool = False
    join: Join | None = None
    network: str | None = None
    pod_routes: tuple[PodRoute, ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, control planes first."""
        return self.control_planes + self.workers

    @property
    def kubelets(self) -> tuple[Node, ...]:
        """The nodes that run pods: every worker, and the control planes that are nodes of the cluster too."""
        return tuple(node for node in self.nodes if node.pod_cidr)

    @property
    def virtual_machines(self) -> tuple[Node, ...]:
        """The nodes that the lab makes VMs for."""
        return tuple(node for node in self.nodes if isinstance(node.machine, VmSize))

    @cached_property
    def routes(self) -> tuple[PodRoute, ...]:
        """The routes to all pods."""
        own = (PodRoute(pod_cidr=node.pod_cidr, address=node.address) for node in self.nodes if node.pod_cidr)
        return (*own, *self.pod_routes)

    @property
    def administered(self) -> bool:
        """Whether the lab can do in the cluster what only an administrator may."""
        return self.join is None or self.join.signer is not None or bool(self.join.kubeconfig)

    @property
    def domain(self) -> str:
        """The DNS domain of the VMs' network."""
        return network_domain(self.name)

    @property
    def api_server_service(self) -> str:
        """The service of a control plane by which the API server is reached there, once it is healthy."""
        return "haproxy" if self.api_address else "kube-apiserver"

    @property
    def api_endpoint(self) -> str:
        """The URL of the API server as nodes and users see it."""
        if self.join:
            return self.join.endpoint
        return f"https://{self.api_address or self.control_planes[0].address}:{API_PORT}"

    @property
    def simultaneous_restarts(self) -> int:
        """How many workers at a time may restart a service, from `max_unavailable`; at least one.

        A percentage is rounded down, as Kubernetes does for maxUnavailable of a Deployment.
        """
        if isinstance(self.max_unavailable, int):
            return self.max_unavailable
        return max(1, len(self.workers) * int(self.max_unavailable.removesuffix("%")) // 100)
