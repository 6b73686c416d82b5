"""The types of converted configuration values, and the values of one configuration as the rules read them.

The keys are those of Pulumi.yaml. A key whose value has a problem is absent from its dictionary, so rules read keys
with `get` or check that they are present. None is a valid value: the configuration says that there is no such thing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Literal, NamedTuple, TypedDict

from lab.certificates import Certificate, PrivateKey
from lab.disruption import Disruption
from lab.spec import (
    ConfiguredFile,
    DrainTimeoutAction,
    Encryption,
    ExistingMachine,
    FailureAction,
    Folder,
    GivenCertificate,
    GivenImage,
    PodNetwork,
    Registry,
    SystemUser,
    Taint,
    Virtualization,
)

OverrideKey = Literal["kubelet", "kubeProxy", "containerd", "cni"]
"""The key of overrides of a service's configuration fields, for all nodes or for one."""

FlagsKey = Literal["etcdFlags", "apiServerFlags", "controllerManagerFlags", "schedulerFlags"]
"""The key of overrides of a control plane service's command-line flags."""

OVERRIDE_KEYS: tuple[OverrideKey, ...] = ("kubelet", "kubeProxy", "containerd", "cni")
"""All values of OverrideKey."""

Overrides = Mapping[str, Any]
"""Fields or flags by name."""

IncompleteObject = Mapping[str, Any]
"""An object without those of its fields that have problems."""


FileValues = Mapping[str, ConfiguredFile | IncompleteObject | None]
"""Files by path; None removes a file of the lab."""


class NodeValues(TypedDict, total=False):
    """The values of a node. Only workers have `machine`; `podCidr` is None for a control plane that runs no pods."""

    name: str
    address: IPv4Address
    vcpus: int
    memory: int
    disk: int
    kubernetesVersion: str
    podCidr: IPv4Network | None
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    kubelet: Overrides
    kubeProxy: Overrides
    containerd: Overrides
    cni: Overrides
    registries: list[Registry | IncompleteObject]
    images: list[GivenImage | IncompleteObject]
    files: FileValues
    sysctls: Mapping[str, str | None]
    machine: ExistingMachine | IncompleteObject | None
    host: str | None


class HostValues(TypedDict, total=False):
    """The values of a host."""

    uri: str
    virtualization: Virtualization | None
    vcpus: int
    memory: int


class RouteValues(TypedDict, total=False):
    """The values of a route to pods outside the lab."""

    podCidr: IPv4Network
    address: IPv4Address


class JoinValues(TypedDict, total=False):
    """The values that describe an existing cluster."""

    endpoint: str
    caCertificate: tuple[Certificate, ...]
    caKey: PrivateKey | None
    bootstrapToken: str | None
    certificates: list[GivenCertificate | IncompleteObject]
    kubeconfig: str | None


class DnsAddonValues(TypedDict, total=False):
    """The values of the add-on CoreDNS."""

    replicas: int
    forward: tuple[str, ...]
    stubDomains: Mapping[str, tuple[str, ...]]
    corefile: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A file of Kubernetes objects.

    Attributes:
        place: The path or URL of the file.
        objects: The objects.
    """

    place: str
    objects: tuple[Mapping[str, Any], ...]


class SwitchValues(TypedDict, total=False):
    """The values of something that can only be turned on and off."""

    enabled: bool


class LocalPathValues(SwitchValues, total=False):
    """The values of local-path-provisioner."""

    path: str


class AddonsValues(TypedDict, total=False):
    """The values of the add-ons."""

    dns: DnsAddonValues
    metricsServer: SwitchValues
    localPath: LocalPathValues


class EtcdSnapshotsValues(SwitchValues, total=False):
    """The values of the regular snapshots of etcd."""

    everyHours: int
    keep: int


class EtcdValues(TypedDict, total=False):
    """The values of etcd."""

    snapshots: EtcdSnapshotsValues
    restoreFrom: str


class AuthoritiesValues(TypedDict, total=False):
    """The names of the keys of each certificate authority."""

    kubernetes: tuple[str, ...]
    etcd: tuple[str, ...]
    frontProxy: tuple[str, ...]


class LabValues(TypedDict, total=False):
    """The values of a whole lab. `join` is None for a lab with its own control planes."""

    name: str
    kubernetesVersion: str
    emulate: str | None
    versions: Mapping[str, str]
    controlPlanes: list[NodeValues]
    workers: list[NodeValues]
    join: JoinValues | None
    podRoutes: list[RouteValues]
    networkCidr: IPv4Network
    network: str | None
    apiAddress: IPv4Address | None
    hostRoutes: bool
    identityFromUserData: bool
    clusterCidr: IPv4Network
    serviceCidr: IPv4Network
    clusterDns: IPv4Address
    clusterDomain: str
    clusterDnsAddon: bool
    addons: AddonsValues
    manifests: list[Manifest | IncompleteObject]
    kubelet: Overrides
    kubeProxy: Overrides
    containerd: Overrides
    cni: Overrides
    registries: list[Registry | IncompleteObject]
    images: list[GivenImage | IncompleteObject]
    podNetwork: PodNetwork
    networkPolicy: bool
    kubeProxyEnabled: bool
    files: FileValues
    sysctls: Mapping[str, str | None]
    tlsBootstrap: bool
    systemUser: SystemUser | IncompleteObject | None
    nodeFolders: list[Folder | IncompleteObject]
    layout: Mapping[str, str]
    encryption: Encryption | IncompleteObject
    etcd: EtcdValues
    etcdFlags: Overrides
    apiServerFlags: Overrides
    controllerManagerFlags: Overrides
    schedulerFlags: Overrides
    apiServerNames: list[IPv4Address | str]
    auditPolicy: Overrides
    authentication: Overrides
    authorization: Overrides
    admission: Overrides
    certificateAuthorities: AuthoritiesValues
    serviceAccountKeys: tuple[str, ...]
    certificateAuthorityValidityHours: int
    certificateValidityHours: int
    certificateRenewalHours: int
    adminCertificateHours: int
    maxUnavailable: int | str
    maxDisruption: Disruption | None
    drainGracePeriodSeconds: int
    drainTimeoutSeconds: int
    drainTimeoutAction: DrainTimeoutAction
    healthTimeoutSeconds: int
    canaryCommand: str
    onFailure: FailureAction
    confirmWithin: int | None
    virtualization: Virtualization
    libvirtUri: str
    hosts: Mapping[str, HostValues | None]
    image: str | None


class NodeEntry(NamedTuple):
    """A node in a configuration.

    Attributes:
        key: The full key of the node, such as `hardway:workers[1]`.
        values: The values of the node.
    """

    key: str
    values: NodeValues

    @property
    def is_existing_machine(self) -> bool:
        """True if the node is an existing machine, and not a VM."""
        return self.values.get("machine") is not None


class RouteEntry(NamedTuple):
    """A route to pods in a configuration.

    Attributes:
        key: The full key of the route, such as `hardway:podRoutes[0]`.
        values: The values of the route.
    """

    key: str
    values: RouteValues


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A configuration with values that are converted one by one, and not yet checked together.

    Attributes:
        namespace: The namespace of the keys.
        lab: The top-level values.
        now: The time at which given certificates must be valid; None to skip that check.
    """

    namespace: str
    lab: LabValues
    now: datetime | None

    def key(self, name: str) -> str:
        """Return the full key of a top-level key or of a path below one."""
        return f"{self.namespace}:{name}"

    @cached_property
    def control_planes(self) -> Sequence[NodeEntry]:
        """The control planes."""
        return self._entries("controlPlanes")

    @cached_property
    def workers(self) -> Sequence[NodeEntry]:
        """The workers."""
        return self._entries("workers")

    @property
    def nodes(self) -> Sequence[NodeEntry]:
        """All nodes, control planes first."""
        return [*self.control_planes, *self.workers]

    @property
    def routes(self) -> Sequence[RouteEntry]:
        """The routes to pods outside the lab."""
        routes = self.lab.get("podRoutes", [])
        return [RouteEntry(self.key(f"podRoutes[{index}]"), route) for index, route in enumerate(routes)]

    @property
    def has_only_existing_machines(self) -> bool:
        """True if the lab creates no VM."""
        return bool(self.nodes) and all(node.is_existing_machine for node in self.nodes)

    def _entries(self, name: Literal["controlPlanes", "workers"]) -> Sequence[NodeEntry]:
        return [NodeEntry(self.key(f"{name}[{index}]"), node) for index, node in enumerate(self.lab.get(name, []))]
