"""The spec: a typed and validated description of a lab.

`lab.config.parse` creates the spec from a stack's configuration. `lab.node` renders each node's files from it, and
`components` creates resources from it. All objects are immutable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lab.certificates import Certificate, PrivateKey
from lab.disruption import Disruption
from lab.versions import version as default_version

API_PORT = 6443
"""The port of every API server."""

MAX_PODS = 110
"""The kubelet's maxPods in every lab, unless the configuration overrides it."""

ANY_REGISTRY = "*"
"""The host of the registry entry for every registry that has no separate entry."""

CNI_LIST = ".conflist"
"""The ending of a file with a list of CNI plugins. A file with a single plugin ends with .conf."""


PLAIN_TEXT = "identity"
"""The name among the encryption keys that means no encryption, as in an EncryptionConfiguration."""

ENCRYPTABLE_RESOURCES = ("secrets", "configmaps")
"""The resources that a lab can encrypt in etcd."""


class Role(StrEnum):
    """The role of a node. The value is also the name of its label in `node-role.kubernetes.io/`."""

    CONTROL_PLANE = "control-plane"
    WORKER = "worker"


class TaintEffect(StrEnum):
    """The effect of a taint on pods that do not tolerate it. The values are those of Kubernetes."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class PodNetwork(StrEnum):
    """The network of the pods. NONE means that the user installs a CNI plugin."""

    BRIDGE = "bridge"
    NONE = "none"


class Virtualization(StrEnum):
    """The type of the VMs. AUTO means KVM if a kernel boots with it, and emulation (QEMU) otherwise."""

    AUTO = "auto"
    KVM = "kvm"
    QEMU = "qemu"


class FailureAction(StrEnum):
    """The action if a change fails."""

    STOP = "stop"
    ROLLBACK = "rollback"


class DrainTimeoutAction(StrEnum):
    """The action if the pods of a node have not ended in time."""

    FAIL = "fail"
    CONTINUE = "continue"


@dataclass(frozen=True, kw_only=True)
class DrainLimits:
    """The limits when a node is drained.

    Attributes:
        grace_period: Seconds in which a pod can terminate.
        timeout: Seconds in which all pods must have ended.
        timeout_action: The action if they have not.
    """

    grace_period: int
    timeout: int
    timeout_action: DrainTimeoutAction

    @property
    def arguments(self) -> tuple[str, str, str]:
        """The arguments GRACE, TIMEOUT and ACTION of `assets/node/node-registration`."""
        return str(self.grace_period), str(self.timeout), str(self.timeout_action)


def network_domain(lab: str) -> str:
    """Return the DNS domain of the network that a lab creates for its VMs.

    Args:
        lab: The name of the lab.
    """
    return f"{lab}.local"


def fqdn(node: str, domain: str) -> str:
    """Return a node's fully qualified domain name: its name if that has a domain, else its name in the given domain."""
    return node if "." in node else f"{node}.{domain}"


@dataclass(frozen=True, kw_only=True)
class Taint:
    """A taint of a node."""

    key: str
    value: str
    effect: TaintEffect

    def __str__(self) -> str:
        """Return the taint in the format of kubectl."""
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


@dataclass(frozen=True, kw_only=True)
class VmSize:
    """The size of a node's VM.

    Attributes:
        vcpus: The number of virtual CPUs.
        memory: The memory in MiB.
        disk: The disk size in GiB.
    """

    vcpus: int
    memory: int
    disk: int


@dataclass(frozen=True, kw_only=True)
class ExistingMachine:
    """An existing machine that becomes a node, and how to connect to it.

    Attributes:
        user: The user to log in as: root, or a user with sudo without a password.
        port: The port of the SSH server.
        private_key: The private key to log in with, in PEM. Secret.
        host_key: The public host key of the machine.
    """

    user: str
    port: int
    private_key: str = field(repr=False)
    host_key: str


@dataclass(frozen=True, kw_only=True)
class Host:
    """A machine whose libvirt runs VMs.

    Attributes:
        name: The name in the configuration; empty for the only host of a lab that names none.
        uri: The URI of the libvirt daemon.
        virtualization: The type of the VMs.
        vcpus: The virtual CPUs that its VMs may have together; None for no limit.
        memory: The memory in MiB that its VMs may have together; None for no limit.
    """

    name: str
    uri: str
    virtualization: Virtualization
    vcpus: int | None = None
    memory: int | None = None

    def __str__(self) -> str:
        """Return the host as a message names it."""
        return f"host {self.name} ({self.uri})" if self.name else f"libvirt ({self.uri})"


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A container registry, and how nodes pull images from it.

    Attributes:
        host: The registry in the names of images, such as docker.io; or ANY_REGISTRY.
        mirrors: The URLs to try before the registry itself.
        certificate_authority: The authorities to trust besides those of the system, in PEM; empty for none.
        username: The user name; empty for none.
        password: The password. Secret.
        skip_verify: True if certificates are not verified.
        capabilities: The requests to send to the mirrors: pull, resolve, push.
        override_path: True if the URLs contain the path of the API, and containerd must not append /v2.

    The settings apply to the mirrors, or to the registry itself if there are no mirrors.
    """

    host: str
    mirrors: tuple[str, ...] = ()
    certificate_authority: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    skip_verify: bool = False
    capabilities: tuple[str, ...] = ("pull", "resolve")
    override_path: bool = False


@dataclass(frozen=True, kw_only=True)
class GivenImage:
    """A container image that nodes get from an archive.

    Attributes:
        name: The full name of the image, such as docker.io/library/nginx:1.29.
        archive: The path of the archive, relative to the project's folder; or its URL with `#sha256=…` at its end.
    """

    name: str
    archive: str


@dataclass(frozen=True, kw_only=True)
class ConfiguredFile:
    """A file that the configuration puts on a node.

    Attributes:
        content: The text.
        mode: The permission bits.
        owner: The owner as `user:group`.
        service: The service that the file belongs to.
        restarts: True if a change restarts the service, or reloads one that only reloads.
    """

    content: str = field(repr=False)
    mode: int
    owner: str
    service: str
    restarts: bool


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of a lab.

    Four attributes override fields of the configurations that `lab.node` renders: kubelet, kube_proxy, containerd and
    cni. These, registries, images, files and sysctls contain the values of the lab, merged with those of this node.

    Attributes:
        name: The name of the node and the host name of its VM. It may have a domain, such as node-0.example.com.
        role: The role of the node.
        address: The node's address in the VMs' network.
        machine: The size of the node's VM, or the existing machine.
        kubernetes_version: The Kubernetes version of the node's services, such as v1.37.2.
        host: The name of the host of the VM; None for an existing machine, and for a VM that is not placed yet: see
            `lab.config.hosts.place`.
        pod_cidr: The address range of the node's pods. None for a control plane that runs no pods; such a control
            plane is not a node of the cluster.
        labels: The labels of the node.
        taints: The taints of the node.
        kubelet: Fields of the KubeletConfiguration.
        kube_proxy: Fields of the KubeProxyConfiguration.
        containerd: Fields of the containerd configuration.
        cni: Fields of the CNI bridge configuration.
        registries: The registries of containerd, sorted by host.
        images: The images that the node gets from archives, sorted by name.
        files: Files that the configuration puts on the node, by path.
        sysctls: Kernel settings that override the lab's; None removes one.
    """

    name: str
    role: Role
    address: IPv4Address
    machine: VmSize | ExistingMachine
    kubernetes_version: str
    host: str | None = None
    pod_cidr: IPv4Network | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    kubelet: Mapping[str, Any] = field(default_factory=dict, repr=False)
    kube_proxy: Mapping[str, Any] = field(default_factory=dict)
    containerd: Mapping[str, Any] = field(default_factory=dict, repr=False)
    cni: Mapping[str, Any] = field(default_factory=dict)
    registries: tuple[Registry, ...] = ()
    images: tuple[GivenImage, ...] = ()
    files: Mapping[str, ConfiguredFile] = field(default_factory=dict)
    sysctls: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def api_server(self) -> str:
        """The URL of the API server on this node, which must be a control plane."""
        return f"https://{self.address}:{API_PORT}"


@dataclass(frozen=True, kw_only=True)
class Networks:
    """The address ranges of a lab.

    Attributes:
        network_cidr: The range of the VMs' libvirt network. Its first address is the host's.
        cluster_cidr: The range of all pods. It contains every node's pod CIDR.
        service_cidr: The range of all Services. Its first address is the API server's.
        cluster_dns: The address of the DNS Service, in service_cidr.
        cluster_domain: The DNS domain of the cluster.
    """

    network_cidr: IPv4Network
    cluster_cidr: IPv4Network
    service_cidr: IPv4Network
    cluster_dns: IPv4Address
    cluster_domain: str

    @property
    def gateway(self) -> IPv4Address:
        """The host's address in the VMs' network."""
        return self.network_cidr[1]

    @property
    def api_service(self) -> IPv4Address:
        """The address of the Service `kubernetes`. The API server always uses the first address of the service CIDR."""
        return self.service_cidr[1]


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """The lifetimes of certificates in hours, and the keys that issue them.

    Attributes:
        authority_validity: The validity of certificates of authorities.
        validity: The validity of all other certificates.
        renewal: The time before its expiry in which `pulumi up` renews a certificate.
        admin_validity: The validity of certificates in the kubeconfig of an administrator.
        issuers: Name of an issuer in `lab.pki`, to the names of its keys. The first one issues, and all are trusted.
            An issuer that is absent has only its default key.
    """

    authority_validity: int
    validity: int
    renewal: int
    admin_validity: int
    issuers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def next_renewal(self, end: datetime, now: datetime) -> datetime | None:
        """Return the time from which `pulumi up` renews a certificate, if that begins soon: within a week.

        For certificates with a short validity, a tenth of it counts as soon.

        Args:
            end: The end of the certificate.
            now: The current time, in UTC.
        """
        begin = end - timedelta(hours=self.renewal)
        soon = min(timedelta(days=7), timedelta(hours=self.validity) / 10)
        return begin if now < begin <= now + soon else None


Flags = Mapping[str, str | tuple[str, ...]]
"""Flags by name without dashes. A flag with several values is repeated."""


@dataclass(frozen=True, kw_only=True)
class Encryption:
    """The encryption of objects in etcd.

    Attributes:
        keys: The names of the keys. API servers encrypt with the first key, and read what any of them encrypted.
            PLAIN_TEXT means no encryption.
        resources: The resources that are encrypted, some of ENCRYPTABLE_RESOURCES.
    """

    keys: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EtcdSnapshots:
    """The regular snapshots that each control plane takes of its etcd.

    Attributes:
        every_hours: The hours between two snapshots.
        keep: The number of snapshots to keep.
    """

    every_hours: int
    keep: int


@dataclass(frozen=True, kw_only=True)
class ControlPlaneFlags:
    """Command-line flags that override those that the lab sets, by name without dashes.

    A flag with several values is repeated.
    """

    etcd: Flags = field(default_factory=dict)
    kube_apiserver: Flags = field(default_factory=dict)
    kube_controller_manager: Flags = field(default_factory=dict)
    kube_scheduler: Flags = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NodePaths:
    """The paths of the files of kubelet, kube-proxy and CNI on a node.

    The paths are absolute. `{name}` stands for the node's name.

    Attributes:
        binaries: The folder of the programs.
        kubelet_configuration: The KubeletConfiguration.
        kubelet_kubeconfig: The kubelet's kubeconfig.
        kubelet_bootstrap_kubeconfig: The kubeconfig with which the kubelet requests its first client certificate.
        kubelet_client_certificates: The folder of the client certificates that the cluster issues to the kubelet.
        kubelet_certificate: The kubelet's serving certificate.
        kubelet_key: The private key of that certificate.
        kubelet_certificate_authority: The certificate of the authority that the kubelet trusts.
        kube_proxy_configuration: The KubeProxyConfiguration.
        kube_proxy_kubeconfig: The kubeconfig of kube-proxy.
        kube_proxy_certificate: The client certificate of kube-proxy.
        kube_proxy_key: The private key of that certificate.
        kube_proxy_certificate_authority: The certificate of the authority that kube-proxy trusts.
        cni_bridge: The CNI bridge configuration: a single plugin, or a list of plugins if it ends with CNI_LIST.
        kernel_settings: The kernel settings (sysctl).
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
        """Return the paths on a node."""
        return NodePaths(**{name: path.replace("{name}", node.name) for name, path in self.paths.items()})

    @property
    def paths(self) -> dict[str, str]:
        """Every path by the name of its attribute."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def kubelet_client_certificate(self) -> str:
        """The file with the current client certificate that the cluster issued to the kubelet, and its private key."""
        return f"{self.kubelet_client_certificates}/kubelet-client-current.pem"


@dataclass(frozen=True, kw_only=True)
class SystemUser:
    """A system user and a group of the same name and ID.

    Attributes:
        name: The name of both.
        id: The ID of both.
        home: The home folder of the user.
    """

    name: str
    id: int
    home: str


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder on a node.

    Attributes:
        path: The absolute path.
        mode: The permission bits.
        owner: The owner as `user:group`.
    """

    path: str
    mode: int
    owner: str


@dataclass(frozen=True, kw_only=True)
class PodRoute:
    """A route to pods outside the lab.

    Attributes:
        pod_cidr: The address range of the pods.
        address: The address of their node.
    """

    pod_cidr: IPv4Network
    address: IPv4Address

    @cached_property
    def text(self) -> str:
        """The route as a line of a node's list of routes. Every other node has the same line."""
        return f"{self.pod_cidr} {self.address}"


@dataclass(frozen=True, kw_only=True)
class GivenCertificate:
    """A certificate that the configuration provides, with its private key.

    Attributes:
        chain: The certificate, followed by its intermediates.
        key: The private key of the certificate.
    """

    chain: tuple[Certificate, ...]
    key: PrivateKey

    @property
    def certificate(self) -> Certificate:
        """The certificate without its intermediates."""
        return self.chain[0]


@dataclass(frozen=True, kw_only=True)
class Join:
    """An existing cluster that the workers join.

    Attributes:
        endpoint: The URL of the API server.
        authorities: The trusted certificates of authorities.
        signer: The authority with which the lab signs certificates; None if its private key is not given.
        bootstrap_token: The token with which kubelets request their client certificates; empty for none. Secret.
        certificates: The given certificates by common name. The lab does not sign these.
        kubeconfig: The kubeconfig of an administrator; empty for none. Secret.
    """

    endpoint: str
    authorities: tuple[Certificate, ...]
    signer: GivenCertificate | None
    bootstrap_token: str = field(repr=False)
    certificates: Mapping[str, GivenCertificate]
    kubeconfig: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class DnsAddon:
    """The add-on CoreDNS.

    Attributes:
        replicas: The number of pods; 0 for two pods if two nodes can run them, and else one.
        forward: The name servers for names outside the cluster; empty for those of the node.
        stub_domains: The name servers of each domain that is not resolved by `forward`.
        corefile: Lines that are added to the server block of the Corefile.
    """

    replicas: int = 0
    forward: tuple[str, ...] = ()
    stub_domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    corefile: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Addons:
    """The add-ons of a lab.

    Attributes:
        dns: CoreDNS; None for no cluster DNS.
        metrics_server: True if metrics-server runs in the cluster.
        volume_folder: Folder on each node for the volumes of the default StorageClass; empty for no such class.
        manifests: Further Kubernetes objects that the configuration names. They may contain secrets.
    """

    dns: DnsAddon | None = None
    metrics_server: bool = False
    volume_folder: str = ""
    manifests: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)


ADDON_NODES = 2
"""The number of nodes that hold the images of the add-ons, so that their pods can move from one to another."""

CONTROL_PLANE_TAINT = f"node-role.kubernetes.io/{Role.CONTROL_PLANE}"
"""The key of the taint that control planes have by default."""

CRITICAL_ADDONS_TAINT = "CriticalAddonsOnly"
"""The key of a taint that only pods of add-ons tolerate."""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A lab.

    Attributes:
        name: The name of the lab.
        kubernetes_version: The Kubernetes version of nodes that do not set their own.
        emulated_version: The minor version that the control planes emulate, such as v1.36; None for their own.
        control_planes: The control planes; empty if the workers join an existing cluster.
        workers: The workers.
        networks: The address ranges.
        certificates: The lifetimes of certificates.
        flags: The flags of control plane services.
        encryption: The encryption of objects in etcd.
        api_server_names: Further DNS names and addresses for the API server's certificate.
        api_server_documents: The configured documents that the API server reads, by key, such as auditPolicy.
        max_unavailable: The number of workers that may restart a service at the same time, or a percentage of the
            workers such as "25%".
        max_disruption: The highest level of disruption that a change may have; None for no limit.
        drain: The way in which nodes are drained.
        health_timeout: The seconds in which a service must become healthy.
        canary_command: The shell command that checks the first node that changes a service; empty for no check.
        on_failure: The action of `hardway up` if a change fails.
        confirm_within: The seconds within which each change on a node must be confirmed; None for no confirmation.
        hosts: The hosts of the VMs, sorted by name. A lab that names none has one, with an empty name.
        image: The URL or path of a cloud image for the VMs; None for the image that the lab builds.
        addons: The add-ons.
        tls_bootstrap: True if the cluster issues the kubelets' client certificates, and not the lab.
        layout: The paths of files on the nodes.
        system_user: A user that every node has; None for none.
        node_folders: Folders that every node has.
        api_address: The address of the load balancer for the API servers; None for no load balancer.
        host_routes: True if the host gets routes to the pods.
        identity_from_user_data: True if the nodes that run pods read their name and pod CIDR from their user-data.
        join: The existing cluster that the workers join; None if the lab has its own control planes.
        network: The name of an existing libvirt network, on every host; None if the lab creates its own.
        pod_routes: Routes to pods outside the lab.
        secrets: The texts that Pulumi holds as secret. A file with one of them is secret.
        versions: Component, as in versions.toml, to its version. The others have their default version.
        pod_network: The network of the pods.
        kube_proxy_enabled: True if kube-proxy runs on the nodes that run pods.
        network_policy: True if kube-network-policies enforces NetworkPolicies on the nodes that run pods.
        etcd_snapshots: The regular snapshots of etcd; None for none.
        etcd_restore: The path of a snapshot from which a new etcd is restored; empty for none.
    """

    name: str
    kubernetes_version: str
    control_planes: tuple[Node, ...]
    workers: tuple[Node, ...]
    networks: Networks
    certificates: Certificates
    flags: ControlPlaneFlags
    encryption: Encryption
    max_unavailable: int | str
    drain: DrainLimits
    health_timeout: int
    canary_command: str
    hosts: tuple[Host, ...]
    image: str | None
    addons: Addons
    tls_bootstrap: bool
    layout: NodePaths
    system_user: SystemUser | None
    node_folders: tuple[Folder, ...]
    api_address: IPv4Address | None = None
    host_routes: bool = False
    identity_from_user_data: bool = False
    join: Join | None = None
    max_disruption: Disruption | None = None
    on_failure: FailureAction = FailureAction.STOP
    confirm_within: int | None = None
    network: str | None = None
    pod_routes: tuple[PodRoute, ...] = ()
    emulated_version: str | None = None
    api_server_names: tuple[IPv4Address | str, ...] = ()
    api_server_documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    versions: Mapping[str, str] = field(default_factory=dict)
    pod_network: PodNetwork = PodNetwork.BRIDGE
    kube_proxy_enabled: bool = True
    network_policy: bool = True
    etcd_snapshots: EtcdSnapshots | None = None
    etcd_restore: str = ""

    def version(self, component: str) -> str:
        """Return the version of a component other than Kubernetes."""
        return self.versions.get(component) or default_version(component)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes, control planes first."""
        return self.control_planes + self.workers

    @property
    def kubelets(self) -> tuple[Node, ...]:
        """The nodes that run pods: all workers, and the control planes with a pod CIDR."""
        return tuple(node for node in self.nodes if node.pod_cidr)

    def administrator(self, node: Node) -> Node:
        """Return the node that registers a node and removes it from the cluster.

        That is the first control plane, or the second one for the node of the first, which must leave the cluster
        before its VM is deleted. It is the node itself if the lab joins a cluster, or has no other control plane.
        """
        if self.join:
            return node
        return next((other for other in self.control_planes if other != node), node)

    @cached_property
    def addon_candidates(self) -> tuple[Node, ...]:
        """The nodes that can run the pods of add-ons, workers first.

        If every node has a taint that these pods do not tolerate, all nodes count, because a taint can be removed.
        """
        nodes = sorted(self.kubelets, key=lambda node: node.role is Role.CONTROL_PLANE)
        return tuple(node for node in nodes if not any(map(_repels_addons, node.taints))) or tuple(nodes)

    @cached_property
    def addon_nodes(self) -> tuple[Node, ...]:
        """The nodes on which the pods of add-ons run. Only these nodes hold the images of the add-ons."""
        replicas = self.addons.dns.replicas if self.addons.dns else 0
        return self.addon_candidates[: max(ADDON_NODES, replicas)]

    @property
    def virtual_machines(self) -> tuple[Node, ...]:
        """The nodes for which the lab creates VMs."""
        return tuple(node for node in self.nodes if isinstance(node.machine, VmSize))

    @cached_property
    def vms_by_host(self) -> Mapping[Host, tuple[Node, ...]]:
        """The VMs of each host that has any. All VMs must be placed."""
        vms = {host: tuple(node for node in self.virtual_machines if node.host == host.name) for host in self.hosts}
        return {host: nodes for host, nodes in vms.items() if nodes}

    def host_of(self, node: Node) -> Host:
        """Return the host of a VM, which must be placed."""
        return next(host for host in self.hosts if host.name == node.host)

    @cached_property
    def routes(self) -> tuple[PodRoute, ...]:
        """The routes to the pods of all nodes, inside and outside the lab. A CNI plugin of the user makes its own."""
        if self.pod_network is not PodNetwork.BRIDGE:
            return ()
        own = (PodRoute(pod_cidr=node.pod_cidr, address=node.address) for node in self.nodes if node.pod_cidr)
        return (*own, *self.pod_routes)

    @property
    def administered(self) -> bool:
        """True if the lab has the credentials of an administrator of the cluster."""
        return self.join is None or self.join.signer is not None or bool(self.join.kubeconfig)

    @property
    def domain(self) -> str:
        """The DNS domain of the VMs' network."""
        return network_domain(self.name)

    @property
    def api_server_service(self) -> str:
        """The service of a control plane that must be healthy before clients can reach the API there."""
        return "haproxy" if self.api_address else "kube-apiserver"

    @property
    def api_endpoint(self) -> str:
        """The URL at which nodes and users reach the API."""
        if self.join:
            return self.join.endpoint
        return f"https://{self.api_address or self.control_planes[0].address}:{API_PORT}"

    @property
    def simultaneous_restarts(self) -> int:
        """The number of workers that may restart a service at the same time, at least one.

        A percentage is rounded down, as Kubernetes does for maxUnavailable of a Deployment.
        """
        if isinstance(self.max_unavailable, int):
            return self.max_unavailable
        return max(1, len(self.workers) * int(self.max_unavailable.removesuffix("%")) // 100)


def _repels_addons(taint: Taint) -> bool:
    if taint.effect is TaintEffect.PREFER_NO_SCHEDULE or taint.key == CRITICAL_ADDONS_TAINT:
        return False
    return taint.key != CONTROL_PLANE_TAINT or taint.effect is not TaintEffect.NO_SCHEDULE
