"""A whole lab: hypervisor, PKI, control planes, workers."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_tls as tls

from components.access import AccessArgs, access
from components.admin_kubeconfig import AdminKubeconfigArgs, admin_kubeconfig
from components.canary import Canary
from components.connection import Script
from components.drain import Drain, DrainArgs
from components.etcd_data import EtcdDataArgs, etcd_data
from components.etcd_membership import EtcdMembershipArgs
from components.host_routes import HostRoutesArgs, host_routes
from components.hypervisor import Hypervisor, HypervisorArgs, vm_name
from components.machine import Machine, MachineArgs
from components.node import NodeArgs, NodeServices
from components.node_registration import NodeRegistrationArgs, node_registration
from components.pki import Pki, PkiArgs
from components.pod_traffic import PodTrafficArgs, pod_traffic
from components.preview import RestartAnnouncement
from components.rollout import Rollout
from components.stack_outputs import StackOutputsArgs, stack_outputs
from components.vm_rollout import VmRollout
from host.engine.drift import MACHINE_NETWORK, REGISTRATION
from host.engine.stack import LIMIT_CHECKED_VARIABLE
from lab.node.encryption import SERVICE as ENCRYPTION
from lab.node.render import RenderedLab
from lab.node.service import Artifact
from lab.pki import KUBE_NETWORK_POLICIES
from lab.spec import Node, Role, Spec
from lab.versions import minor
from system.netns import is_inside
from toolchain.vm_image import VmImage

Resources = Sequence[pulumi.Resource]


@dataclass(frozen=True, kw_only=True)
class LabArgs:
    """Arguments of `Lab`.

    Attributes:
        spec: The lab.
        rendered: Everything that its nodes get.
        image: Image that VMs start from; None for a lab without VMs.
        digests: SHA-256 of each binary and image that the nodes need.
        drift: Node and service to a value that changes when the service was found to differ on the node.
        vm_uuids: UUID of each existing VM by its name in libvirt.
        command_lines: Kernel command line of each existing VM by its name in libvirt.
        kubelet_versions: Version that the kubelet of each node runs.
        ready_nodes: Names of the nodes that are Ready.
    """

    spec: Spec
    rendered: RenderedLab
    image: VmImage | None
    digests: Mapping[Artifact, str]
    drift: Mapping[tuple[str, str], str] = field(default_factory=dict)
    vm_uuids: Mapping[str, str] = field(default_factory=dict)
    command_lines: Mapping[str, str] = field(default_factory=dict)
    kubelet_versions: Mapping[str, str] = field(default_factory=dict)
    ready_nodes: Collection[str] = ()


class Lab(pulumi.ComponentResource):
    """Creates a lab. The nodes come up in parallel; only kubelets wait, for the API servers.

    Attributes:
        outputs: Everything that the stack exports, by name.
    """

    def __init__(self, name: str, args: LabArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:lab:Lab", name, None, opts)
        self._args, spec = args, args.spec
        self._child = pulumi.ResourceOptions(parent=self)
        self._pki = Pki(f"{name}-pki", PkiArgs(spec=spec, identities=args.rendered.identities), self._child)
        self._ssh_key = key = tls.PrivateKey(f"{name}-ssh-key", algorithm="ED25519", opts=self._child)
        hypervisor = (
            Hypervisor(
                f"{name}-hypervisor",
                HypervisorArgs(spec=spec, image=args.image, command_lines=args.command_lines),
                self._child,
            )
            if args.image
            else None
        )
        # `hardway` checks the limit by itself, for the preview as a whole.
        self._canary = Canary(spec.canary_command) if spec.canary_command else None
        self._announcement = RestartAnnouncement(None if LIMIT_CHECKED_VARIABLE in os.environ else spec.max_disruption)
        rollouts = self._vm_rollouts()
        self._machines = {
            node.node.name: Machine(
                node.node.name,
                MachineArgs(
                    node=node,
                    hypervisor=hypervisor,
                    key=key,
                    rollout=rollouts[node.node.role],
                    hooks=self._vm_hooks(node.node),
                ),
                self._child,
            )
            for node in args.rendered.nodes.values()
        }
        self._kubeconfig = admin_kubeconfig(AdminKubeconfigArgs(spec=spec, pki=self._pki))
        self._nodes: dict[str, NodeServices] = {}
        self._create_control_planes()
        self._create_workers()
        registrations: dict[str, pulumi.CustomResource] = {}
        if self._kubeconfig is not None:
            registrations = {node.name: self._register(node) for node in spec.kubelets}
        if spec.control_planes:
            # It has the limits when a node is drained.
            limits = self._nodes[spec.control_planes[0].name].command("node-setup")
            rollouts[Role.WORKER].start_after(limits)
        for node in spec.virtual_machines:
            commands: list[pulumi.CustomResource] = [
                service.command for service in self._nodes[node.name].services.values()
            ]
            if node.name in registrations:
                commands.append(registrations[node.name])
            vm, is_ready = self._machines[node.name].vm, node.name in args.ready_nodes or not node.pod_cidr
            assert vm, f"{node.name} is a VM"
            rollouts[node.role].end_turn(vm_name(spec, node), vm.domain, commands, is_ready=is_ready)
        # The network's interface exists before the first VM.
        domains = [machine.vm.domain for machine in self._machines.values() if machine.vm]
        with_network = pulumi.ResourceOptions(parent=self, depends_on=domains)
        repair = args.drift.get(MACHINE_NETWORK, "")
        if domains:
            pod_traffic(f"{name}-pod-traffic", PodTrafficArgs(spec=spec, repair=repair), with_network)
        # Nothing else uses the network of a private libvirt, so the routes are not in anybody's way.
        if spec.host_routes or (domains and is_inside() and not spec.network):
            host_routes(f"{name}-host-routes", HostRoutesArgs(spec=spec, repair=repair), with_network)
        outputs = stack_outputs(
            StackOutputsArgs(
                spec=spec,
                pki=self._pki,
                ssh_key=key,
                machines=self._machines,
                nodes=self._nodes,
                kubeconfig=self._kubeconfig,
            )
        )
        access("access", AccessArgs(outputs=outputs), self._child)
        self.outputs = outputs.to_dict()
        self.register_outputs(self.outputs)

    def _vm_rollouts(self) -> Mapping[Role, VmRollout]:
        """Return the rollout of VMs for each role.

        A single control plane comes first, because it does the administrator's work for workers. Several of them take
        no turns: each needs the machines of the others to join etcd.
        """
        args, spec = self._args, self._args.spec
        control_planes = VmRollout(args.vm_uuids if len(spec.control_planes) == 1 else {}, 1)
        workers = VmRollout(args.vm_uuids, spec.simultaneous_restarts, after=control_planes)
        return {Role.CONTROL_PLANE: control_planes, Role.WORKER: workers}

    def _vm_hooks(self, node: Node) -> pulumi.ResourceHookBinding | None:
        """Return the hooks of a node's VM; None if it does not exist yet."""
        exists = vm_name(self._args.spec, node) in self._args.vm_uuids
        return self._announcement.vm_hooks(f"{node.name}-domain", node.name) if exists else None

    def _create_control_planes(self) -> None:
        spec, rollout = self._args.spec, Rollout("control-planes", 1, self._canary)
        # The first etcd founds the cluster if all members are new. When the lab is deleted, it stops last.
        etcd: Resources = [self._machines[node.name].connection.ready for node in spec.control_planes]
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
            self._nodes[spec.control_planes[0].name].apply(ENCRYPTION, self._finish_encryption())

    def _etcd_data(self) -> Resources:
        """Return the resource that keeps the data of a single control plane; none if others have the data."""
        if len(self._args.spec.control_planes) > 1:
            return []
        [node] = self._args.spec.control_planes
        args = EtcdDataArgs(node=node.name, machine=self._machines[node.name])
        return [etcd_data(f"{node.name}-etcd-data", args, self._child)]

    def _finish_encryption(self) -> Resources:
        """End a change of the keys for objects in etcd, one API server after the other.

        Each API server must be able to read what a new key encrypts before one of them encrypts with it.
        """
        finished: list[pulumi.Resource] = [node.command("kube-apiserver") for node in self._nodes.values()]
        for name, node in self._nodes.items():
            script = Script(
                create=self._args.rendered.nodes[name].finish_encryption,
                repair=self._args.drift.get((name, "kube-apiserver"), ""),
            )
            options = pulumi.ResourceOptions(parent=node, depends_on=finished)
            finished = [*finished, self._machines[name].connection.run(f"{name}-encryption-finished", script, options)]
        return finished

    def _create_workers(self) -> None:
        spec = self._args.spec
        rollout = Rollout("workers", spec.simultaneous_restarts, self._canary)
        api_servers = [node.command(spec.api_server_service) for node in self._nodes.values()]
        waits_for = {"kubelet": [*api_servers, *self._bootstrap_tokens()], KUBE_NETWORK_POLICIES: self._addons()}
        for node in spec.workers:
            self._create_node(node, rollout, waits_for)

    def _create_node(
        self,
        node: Node,
        rollout: Rollout,
        waits_for: Mapping[str, Resources],
        etcd_membership: EtcdMembershipArgs | None = None,
    ) -> NodeServices:
        machine = self._machines[node.name]
        args = NodeArgs(
            node=self._args.rendered.nodes[node.name],
            machine=machine,
            pki=self._pki,
            digests=self._args.digests,
            # Every lab has this key, and `verify` has it, too.
            fingerprint_key=pulumi.Output.secret(self._ssh_key.private_key_openssh),
            health_timeout=self._args.spec.health_timeout * machine.slowdown,
            announcement=self._announcement,
            rollout=rollout,
            drain=self._drain(node),
            waits_for=waits_for,
            etcd_membership=etcd_membership,
            cluster=first.cluster if (first := self._first_control_plane()) else None,
            # It waits for all control planes.
            deferred=(ENCRYPTION,),
            drift={service: token for (name, service), token in self._args.drift.items() if name == node.name},
        )
        self._nodes[node.name] = NodeServices(node.name, args, self._child)
        return self._nodes[node.name]

    def _bootstrap_tokens(self) -> list[pulumi.Resource]:
        """Return the command of the service that keeps the bootstrap tokens valid.

        Empty without TLS bootstrap, and as long as the first control plane is not created: its own kubelet already
        waits for the service on the same node.
        """
        spec = self._args.spec
        return self._of_first_control_plane("bootstrap-tokens") if spec.tls_bootstrap else []

    def _addons(self) -> list[pulumi.Resource]:
        """Return the command of the service that gives other services their rights.

        Empty if the lab joins a cluster, and as long as the first control plane is not created, as above.
        """
        return self._of_first_control_plane("addons")

    def _of_first_control_plane(self, service: str) -> list[pulumi.Resource]:
        first = self._first_control_plane()
        return [first.command(service)] if first else []

    def _first_control_plane(self) -> NodeServices | None:
        """Return the services of the first control plane, None as long as it is not created and in a joining lab."""
        control_planes = self._args.spec.control_planes
        return self._nodes.get(control_planes[0].name) if control_planes else None

    def _etcd_membership(self, node: Node) -> EtcdMembershipArgs:
        executor = next((other for other in self._args.spec.control_planes if other != node), node)
        membership = self._args.rendered.nodes[node.name].etcd
        assert membership, f"{node.name} is a control plane"
        return EtcdMembershipArgs(
            membership=membership, machine=self._machines[node.name], executor=self._machines[executor.name]
        )

    def _register(self, node: Node) -> pulumi.CustomResource:
        spec, services, drift = self._args.spec, self._nodes[node.name], self._args.drift
        executor = spec.administrator(node)
        depends_on: list[pulumi.Resource] = [service.command for service in services.services.values()]
        if not spec.join:
            depends_on.append(self._nodes[executor.name].command("addons"))
        args = NodeRegistrationArgs(
            node=self._args.rendered.nodes[node.name],
            connection=self._machines[executor.name].connection,
            kubeconfig=self._kubeconfig if spec.join else None,
            machine=self._machines[node.name],
            # Records of the version before have the former name.
            repair=drift.get((node.name, REGISTRATION), drift.get((node.name, "membership"), "")),
            depends_on=depends_on,
        )
        return node_registration(f"{node.name}-{REGISTRATION}", args, pulumi.ResourceOptions(parent=services))

    def _drain(self, node: Node) -> Drain | None:
        """Return the drain for a change of the node's kubelet; None if the lab does not administer the cluster."""
        if self._kubeconfig is None:
            return None
        running = self._args.kubelet_versions.get(node.name)
        args = DrainArgs(
            node=node.name,
            connection=self._machines[self._args.spec.administrator(node).name].connection,
            kubeconfig=self._kubeconfig if self._args.spec.join else None,
            limits=self._args.spec.drain,
            is_new_minor_version=running is not None and minor(running) != minor(node.kubernetes_version),
        )
        return Drain(args)
