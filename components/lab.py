"""A whole lab: hypervisor, PKI, control planes, workers."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pulumi
import pulumi_tls as tls

from components.access import AccessArgs, access
from components.admin_kubeconfig import AdminKubeconfigArgs, admin_kubeconfig
from components.gate import Gate
from components.host_routes import HostRoutesArgs, host_routes
from components.hypervisor import Hypervisor, HypervisorArgs, hypervisor_name, vm_name
from components.lab_nodes import LabNodes, LabNodesArgs
from components.machine import Machine, MachineArgs
from components.pki import Pki, PkiArgs
from components.pod_traffic import PodTrafficArgs, pod_traffic
from components.preview import RestartAnnouncement
from components.rotation import Rotation, RotationArgs
from components.stack_outputs import StackOutputsArgs, stack_outputs
from components.vm_rollout import VmRollout
from host.engine.drift import MACHINE_NETWORK
from host.engine.stack import LIMIT_CHECKED_VARIABLE
from lab.node.render import RenderedLab
from lab.node.service import Artifact
from lab.spec import ExistingMachine, Host, Node, Role, Spec
from system.netns import is_inside
from toolchain.vm_image import VmImage

Resources = Sequence[pulumi.Resource]


@dataclass(frozen=True, kw_only=True)
class LabArgs:
    """Arguments of `Lab`.

    Attributes:
        spec: The lab, with the host of each VM.
        rendered: Everything that its nodes get.
        image: Image that VMs start from; None for a lab without VMs.
        digests: SHA-256 of each binary and image that the nodes need.
        drift: Node and service to a value that changes when the service was found to differ on the node.
        vm_uuids: UUID of each existing VM by its name in libvirt.
        command_lines: Kernel command line of each existing VM by its name in libvirt.
        kubelet_versions: Version that the kubelet of each node runs.
        ready_nodes: Names of the nodes that are Ready.
        user_kubeconfigs: The kubeconfigs that `hardway access` has written.
        rolls_back: True if the lab returns to an earlier configuration: workers change in reverse order, and no canary
            checks them.
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
    user_kubeconfigs: Sequence[Path] = ()
    rolls_back: bool = False


class Lab(pulumi.ComponentResource):
    """Creates a lab. The nodes come up in parallel; only kubelets wait, for the API servers.

    Attributes:
        outputs: Everything that the stack exports, by name.
    """

    def __init__(self, name: str, args: LabArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:lab:Lab", name, None, opts)
        self._args, spec = args, args.spec
        self._child = pulumi.ResourceOptions(parent=self)
        key = tls.PrivateKey(f"{name}-ssh-key", algorithm="ED25519", opts=self._child)
        gate = Gate()
        hypervisors = {host.name: self._create_hypervisor(host, gate) for host in spec.vms_by_host}
        # `hardway` checks the limit by itself, for the preview as a whole.
        self._announcement = RestartAnnouncement(None if LIMIT_CHECKED_VARIABLE in os.environ else spec.max_disruption)
        rollouts = self._vm_rollouts()
        rendered = list(args.rendered.nodes.values())
        machines = {
            node.node.name: Machine(
                node.node.name,
                MachineArgs(
                    node=node,
                    hypervisor=hypervisors[node.node.host] if node.node.host is not None else None,
                    key=key,
                    gate=gate,
                    rollout=rollouts[node.node.role],
                    hooks=self._vm_hooks(node.node),
                ),
                self._child,
            )
            for node in (reversed(rendered) if args.rolls_back else rendered)
        }
        # The order of the outputs is always the same.
        self._machines = {name: machines[name] for name in args.rendered.nodes}
        self._pki = self._create_pki(f"{name}-pki", key)
        # Its check of a rotation comes before everything that changes.
        gate.open_after(self._pki)
        kubeconfig = admin_kubeconfig(AdminKubeconfigArgs(spec=spec, pki=self._pki))
        nodes = LabNodes(
            LabNodesArgs(
                spec=spec,
                rendered=args.rendered,
                digests=args.digests,
                drift=args.drift,
                kubelet_versions=args.kubelet_versions,
                machines=self._machines,
                pki=self._pki,
                ssh_key=key,
                kubeconfig=kubeconfig,
                announcement=self._announcement,
                rolls_back=args.rolls_back,
            ),
            self._child,
        )
        self._end_turns(rollouts, nodes)
        # The network's interface exists before the first VM.
        domains = [machine.vm.domain for machine in self._machines.values() if machine.vm]
        prepared = [machine.connection.ready for machine in self._machines.values()]
        with_network = pulumi.ResourceOptions(parent=self, depends_on=domains or prepared)
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
                nodes=nodes.services,
                kubeconfig=kubeconfig,
            )
        )
        access("access", AccessArgs(outputs=outputs), self._child)
        self.outputs = outputs.to_dict()
        self.register_outputs(self.outputs)

    def _create_hypervisor(self, host: Host, gate: Gate) -> Hypervisor:
        args, spec = self._args, self._args.spec
        assert args.image, "there are VMs, and no image for them"
        return Hypervisor(
            hypervisor_name(spec, host),
            HypervisorArgs(spec=spec, host=host, image=args.image, command_lines=args.command_lines, gate=gate),
            self._child,
        )

    def _create_pki(self, name: str, key: tls.PrivateKey) -> Pki:
        """Create the certificates after a check of their rotation. The check needs the keys of the connections."""
        args, spec = self._args, self._args.spec
        existing = [
            node.name
            for node in spec.nodes
            if isinstance(node.machine, ExistingMachine) or vm_name(spec, node) in args.vm_uuids
        ]
        rotation = Rotation(
            RotationArgs(
                spec=spec,
                rendered=args.rendered,
                connections={name: self._machines[name].connection for name in existing},
                user_kubeconfigs=args.user_kubeconfigs,
            )
        )
        host_keys = [machine.host_key for machine in self._machines.values() if machine.host_key]
        options = pulumi.ResourceOptions(parent=self, depends_on=[key, *host_keys], hooks=rotation.hooks)
        return Pki(name, PkiArgs(spec=spec, identities=args.rendered.identities), options)

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

    def _end_turns(self, rollouts: Mapping[Role, VmRollout], nodes: LabNodes) -> None:
        """Tell the rollouts when the turn of each VM ends."""
        spec = self._args.spec
        if spec.control_planes:
            # It has the limits when a node is drained.
            rollouts[Role.WORKER].start_after(nodes.services[spec.control_planes[0].name].command("node-setup"))
        for node in spec.virtual_machines:
            vm, is_ready = self._machines[node.name].vm, node.name in self._args.ready_nodes or not node.pod_cidr
            assert vm, f"{node.name} is a VM"
            rollouts[node.role].end_turn(vm_name(spec, node), vm.domain, nodes.commands(node), is_ready=is_ready)
