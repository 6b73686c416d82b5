"""The services of all nodes of a lab, and the registration of the nodes in the cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

from components.canary import Canary
from components.connection import Script
from components.drain import Drain, DrainArgs
from components.etcd_data import EtcdDataArgs, etcd_data
from components.etcd_membership import EtcdMembershipArgs
from components.machine import Machine
from components.node import NodeServices, NodeServicesArgs
from components.node_registration import NodeRegistrationArgs, node_registration
from components.pki import Pki
from components.preview import RestartAnnouncement
from components.rollout import Rollout
from host.engine.drift import REGISTRATION
from lab.node.encryption import SERVICE as ENCRYPTION
from lab.node.render import RenderedLab
from lab.node.service import Artifact
from lab.pki import KUBE_NETWORK_POLICIES
from lab.spec import Node, Spec
from lab.versions import minor

Resources = Sequence[pulumi.Resource]


@dataclass(frozen=True, kw_only=True)
class LabNodesArgs:
    """Arguments of `LabNodes`.

    Attributes:
        spec: The lab.
        rendered: Everything that its nodes get.
        digests: SHA-256 of each binary and image that the nodes need.
        drift: Node and service to a value that changes when the service was found to differ on the node.
        kubelet_versions: Version that the kubelet of each node runs.
        machines: Machines by node name.
        pki: Gives the credentials of the services.
        ssh_key: Key that VMs accept for root.
        kubeconfig: Administrator's kubeconfig; None without an administrator.
        announcement: Reports in a preview what a change of a service does.
        rolls_back: True if the lab returns to an earlier configuration: see `LabArgs`.
    """

    spec: Spec
    rendered: RenderedLab
    digests: Mapping[Artifact, str]
    drift: Mapping[tuple[str, str], str]
    kubelet_versions: Mapping[str, str]
    machines: Mapping[str, Machine]
    pki: Pki
    ssh_key: tls.PrivateKey
    kubeconfig: pulumi.Output[str] | None
    announcement: RestartAnnouncement
    rolls_back: bool


class LabNodes:
    """Creates the services of control planes and workers in the right order, and registers the nodes.

    Attributes:
        services: Services by node name.
        registrations: Registrations by node name; empty without an administrator.
    """

    def __init__(self, args: LabNodesArgs, opts: pulumi.ResourceOptions) -> None:
        self._args, self._child = args, opts
        command = args.spec.canary_command
        self._canary = Canary(command) if command and not args.rolls_back else None
        self.services: dict[str, NodeServices] = {}
        self._create_control_planes()
        self._create_workers()
        self.registrations: dict[str, pulumi.CustomResource] = {}
        if args.kubeconfig is not None:
            self.registrations = {node.name: self._register(node) for node in args.spec.kubelets}

    def commands(self, node: Node) -> list[pulumi.CustomResource]:
        """Return all commands that put a node into the cluster."""
        services = [service.command for service in self.services[node.name].services.values()]
        return [*services, *([self.registrations[node.name]] if node.name in self.registrations else [])]

    def _create_control_planes(self) -> None:
        spec, rollout = self._args.spec, Rollout("control-planes", 1, self._canary, follows={"kube-apiserver": "etcd"})
        # The first etcd founds the cluster if all members are new. When the lab is deleted, it stops last.
        etcd: Resources = [self._args.machines[node.name].connection.ready for node in spec.control_planes]
        # The first API server of a new cluster writes its roles and rules. Several at once would conflict.
        api_server: Resources = []
        for node in spec.control_planes:
            waits_for = {
                "etcd": [*etcd, *self._etcd_data()],
                "kube-apiserver": api_server,
                "kubelet": self._bootstrap_tokens(),
                KUBE_NETWORK_POLICIES: self._addons(),
            }
            services = self._create_node(node, rollout, waits_for, self._etcd_membership(node))
            if node == spec.control_planes[0]:
                etcd, api_server = [services.command("etcd")], [services.command("kube-apiserver")]
        if spec.control_planes:
            self.services[spec.control_planes[0].name].apply(ENCRYPTION, self._finish_encryption())

    def _etcd_data(self) -> Resources:
        """Return the resource that keeps the data of a single control plane; none if others have the data."""
        if len(self._args.spec.control_planes) > 1:
            return []
        [node] = self._args.spec.control_planes
        args = EtcdDataArgs(node=node.name, machine=self._args.machines[node.name])
        return [etcd_data(f"{node.name}-etcd-data", args, self._child)]

    def _finish_encryption(self) -> Resources:
        """End a change of the keys for objects in etcd, one API server after the other.

        Each API server must be able to read what a new key encrypts before one of them encrypts with it.
        """
        finished: list[pulumi.Resource] = [node.command("kube-apiserver") for node in self.services.values()]
        for name, node in self.services.items():
            script = Script(
                create=self._args.rendered.nodes[name].finish_encryption,
                repair=self._args.drift.get((name, "kube-apiserver"), ""),
            )
            options = pulumi.ResourceOptions(parent=node, depends_on=finished)
            finished = [
                *finished,
                self._args.machines[name].connection.run(f"{name}-encryption-finished", script, options),
            ]
        return finished

    def _create_workers(self) -> None:
        spec = self._args.spec
        rollout = Rollout("workers", spec.simultaneous_restarts, self._canary, keeps_order=self._args.rolls_back)
        waits_for = {
            "kubelet": [*self._api_servers(), *self._bootstrap_tokens()],
            KUBE_NETWORK_POLICIES: self._addons(),
        }
        for node in reversed(spec.workers) if self._args.rolls_back else spec.workers:
            self._create_node(node, rollout, waits_for)

    def _api_servers(self) -> list[pulumi.Resource]:
        """Return the commands of the services through which the control planes that exist so far serve the API."""
        names = (node.name for node in self._args.spec.control_planes if node.name in self.services)
        return [self.services[name].command(self._args.spec.api_server_service) for name in names]

    def _create_node(
        self,
        node: Node,
        rollout: Rollout,
        waits_for: Mapping[str, Resources],
        etcd_membership: EtcdMembershipArgs | None = None,
    ) -> NodeServices:
        machine = self._args.machines[node.name]
        args = NodeServicesArgs(
            node=self._args.rendered.nodes[node.name],
            machine=machine,
            pki=self._args.pki,
            digests=self._args.digests,
            # Every lab has this key, and `verify` has it, too.
            fingerprint_key=pulumi.Output.secret(self._args.ssh_key.private_key_openssh),
            health_timeout=self._args.spec.health_timeout * machine.slowdown,
            announcement=self._args.announcement,
            rollout=rollout,
            drain=self._drain(node),
            waits_for=waits_for,
            etcd_membership=etcd_membership,
            cluster=first.cluster if (first := self._first_control_plane()) else None,
            # It waits for all control planes.
            deferred=(ENCRYPTION,),
            drift={service: token for (name, service), token in self._args.drift.items() if name == node.name},
        )
        self.services[node.name] = NodeServices(node.name, args, self._child)
        return self.services[node.name]

    def _bootstrap_tokens(self) -> list[pulumi.Resource]:
        """Return the command of the service that keeps the bootstrap tokens valid.

        Empty without TLS bootstrap, and as long as the first control plane is not created: its own kubelet already
        waits for the service on the same node.
        """
        spec = self._args.spec
        return self._find_on_first_control_plane("bootstrap-tokens") if spec.tls_bootstrap else []

    def _addons(self) -> list[pulumi.Resource]:
        """Return the command of the service that gives other services their rights.

        Empty if the lab joins a cluster, and as long as the first control plane is not created, as above.
        """
        return self._find_on_first_control_plane("addons")

    def _find_on_first_control_plane(self, service: str) -> list[pulumi.Resource]:
        first = self._first_control_plane()
        return [first.command(service)] if first else []

    def _first_control_plane(self) -> NodeServices | None:
        """Return the services of the first control plane, None as long as it is not created and in a joining lab."""
        control_planes = self._args.spec.control_planes
        return self.services.get(control_planes[0].name) if control_planes else None

    def _etcd_membership(self, node: Node) -> EtcdMembershipArgs:
        executor = next((other for other in self._args.spec.control_planes if other != node), node)
        membership = self._args.rendered.nodes[node.name].etcd
        assert membership, f"{node.name} is a control plane"
        return EtcdMembershipArgs(
            membership=membership, machine=self._args.machines[node.name], executor=self._args.machines[executor.name]
        )

    def _register(self, node: Node) -> pulumi.CustomResource:
        spec, services, drift = self._args.spec, self.services[node.name], self._args.drift
        executor = spec.administrator(node)
        depends_on: list[pulumi.Resource] = [service.command for service in services.services.values()]
        if executor in spec.control_planes:
            # It has the limits when a node is drained.
            depends_on.append(self.services[executor.name].command("node-setup"))
        args = NodeRegistrationArgs(
            node=self._args.rendered.nodes[node.name],
            connection=self._args.machines[executor.name].connection,
            kubeconfig=None if executor in spec.control_planes[:1] else self._args.kubeconfig,
            outlives_machine=executor == node and spec.join is not None,
            machine=self._args.machines[node.name],
            # Records of the version before have the former name.
            repair=drift.get((node.name, REGISTRATION), drift.get((node.name, "membership"), "")),
            depends_on=[*depends_on, *self._addons()],
        )
        return node_registration(f"{node.name}-{REGISTRATION}", args, pulumi.ResourceOptions(parent=services))

    def _drain(self, node: Node) -> Drain | None:
        """Return the drain for a change of the node's kubelet; None if the lab does not administer the cluster."""
        if self._args.kubeconfig is None:
            return None
        spec, running = self._args.spec, self._args.kubelet_versions.get(node.name)
        executor = node if spec.join else spec.control_planes[0]
        args = DrainArgs(
            node=node.name,
            connection=self._args.machines[executor.name].connection,
            kubeconfig=self._args.kubeconfig if spec.join else None,
            limits=spec.drain,
            is_new_minor_version=running is not None and minor(running) != minor(node.kubernetes_version),
            api_servers=self._api_servers,
        )
        return Drain(args)
