"""The stack's outputs, typed: `components` writes them; access files, `verify`, `smoke` and `status` read them.

Standard library only, because the access files are also written before the lab's Python environment exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from lab.spec import PodNetwork

Text = TypeVar("Text")
"""A text: `str` when outputs are read, `pulumi.Input[str]` when the program writes them."""


@dataclass(frozen=True, kw_only=True)
class NodeOutputs:
    """The outputs of a node.

    Attributes:
        role: `control-plane` or `worker`.
        address: IPv4 address.
        kubernetes_version: Version such as `v1.37.2`.
        ssh: Command line that opens a shell on the node.
        pod_cidr: Range of its pods' addresses. None for a control plane without a kubelet.
        labels: Labels that the configuration gives the node.
        taints: Taints of the node, spelled as for kubectl.
        user: User to log in as, only for existing machines.
        port: Port of the SSH server, only for existing machines.
        host: Name of the host that runs the VM, only in a lab with `hosts`.
    """

    role: str
    address: str
    kubernetes_version: str
    ssh: str
    pod_cidr: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    user: str | None = None
    port: int | None = None
    host: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the node as the stack exports it; keys that do not apply are absent."""
        kubelet = {"podCidr": self.pod_cidr, "labels": dict(self.labels), "taints": list(self.taints)}
        login = {"user": self.user, "port": self.port}
        return {
            "role": self.role,
            "address": self.address,
            "kubernetesVersion": self.kubernetes_version,
            **(kubelet if self.pod_cidr is not None else {}),
            **(login if self.user is not None else {}),
            **({"host": self.host} if self.host is not None else {}),
            "ssh": self.ssh,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NodeOutputs:
        """Return the node that `to_dict` wrote."""
        return cls(
            role=values["role"],
            address=values["address"],
            kubernetes_version=values["kubernetesVersion"],
            ssh=values["ssh"],
            pod_cidr=values.get("podCidr"),
            labels=values.get("labels", {}),
            taints=tuple(values.get("taints", ())),
            user=values.get("user"),
            port=None if values.get("port") is None else int(values["port"]),
            host=values.get("host"),
        )


@dataclass(frozen=True, kw_only=True)
class AdministratorOutputs(Generic[Text]):
    """The certificates that the lab signs for the kubectl of an administrator.

    Attributes:
        group: Group of the administrator. Not known until it has its rights.
        certificate_hours: Validity of each certificate in hours.
    """

    group: Text
    certificate_hours: int

    def to_dict(self) -> dict[str, Any]:
        """Return the administrator as the stack exports it."""
        return {"group": self.group, "certificateHours": self.certificate_hours}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AdministratorOutputs[str]:
        """Return the administrator that `to_dict` wrote."""
        return AdministratorOutputs[str](group=values["group"], certificate_hours=int(values["certificateHours"]))


@dataclass(frozen=True, kw_only=True)
class StackOutputs(Generic[Text]):
    """Everything that a stack exports.

    Attributes:
        api_endpoint: URL of the API server.
        certificate_authority: Certificate of the Kubernetes CA, PEM.
        nodes: Nodes by name.
        services: Node name to service name to the digest of the service's manifest.
        ssh_key: Private key that the VMs accept for root; secret.
        known_hosts: Host keys of all nodes, as in a known_hosts file.
        kubeconfig: Kubeconfig with which the program administers the cluster; secret. None where it does not.
        administrator: The certificates for kubectl. None where the lab signs none.
        certificate_authority_key: Key of that CA; secret. None where the lab joins a cluster.
        machine_keys: Private keys of existing machines, by node name; secret.
        pod_network: Network of the pods: `bridge`, or `none` if the user installs a CNI plugin.
    """

    api_endpoint: str
    certificate_authority: Text
    nodes: Mapping[str, NodeOutputs]
    services: Mapping[str, Mapping[str, Text]]
    ssh_key: Text
    known_hosts: Text
    kubeconfig: Text | None = None
    administrator: AdministratorOutputs[Text] | None = None
    certificate_authority_key: Text | None = None
    machine_keys: Mapping[str, Text] = field(default_factory=dict)
    pod_network: str = PodNetwork.BRIDGE

    @property
    def has_pod_network(self) -> bool:
        """True if the lab itself connects the pods, so that nodes become Ready without a CNI plugin of the user."""
        return self.pod_network == PodNetwork.BRIDGE

    def to_dict(self) -> dict[str, Any]:
        """Return the outputs by their exported names; those that do not apply are absent."""
        return {
            **({"kubeconfig": self.kubeconfig} if self.kubeconfig is not None else {}),
            **({"administrator": self.administrator.to_dict()} if self.administrator is not None else {}),
            "apiEndpoint": self.api_endpoint,
            "certificateAuthority": self.certificate_authority,
            **(
                {"certificateAuthorityKey": self.certificate_authority_key}
                if self.certificate_authority_key is not None
                else {}
            ),
            "nodes": {name: node.to_dict() for name, node in self.nodes.items()},
            "services": {name: dict(services) for name, services in self.services.items()},
            "sshKey": self.ssh_key,
            "knownHosts": self.known_hosts,
            **({"machineKeys": dict(self.machine_keys)} if self.machine_keys else {}),
            **({"podNetwork": self.pod_network} if not self.has_pod_network else {}),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StackOutputs[str]:
        """Return the outputs that `to_dict` wrote.

        Raises:
            KeyError: An output is missing: the stack has no cluster yet.
        """
        administrator = values.get("administrator")
        return StackOutputs[str](
            api_endpoint=values["apiEndpoint"],
            certificate_authority=values["certificateAuthority"],
            nodes={name: NodeOutputs.from_dict(node) for name, node in values["nodes"].items()},
            services=values["services"],
            ssh_key=values["sshKey"],
            known_hosts=values["knownHosts"],
            kubeconfig=values.get("kubeconfig"),
            administrator=AdministratorOutputs.from_dict(administrator) if administrator else None,
            certificate_authority_key=values.get("certificateAuthorityKey"),
            machine_keys=values.get("machineKeys", {}),
            pod_network=values.get("podNetwork", PodNetwork.BRIDGE),
        )
