"""A whole lab: hypervisor, PKI, control planes, workers."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pulumi
import pulumi_tls as tls

from components.access import access
from components.host_routes import host_routes
from components.hypervisor import Hypervisor, HypervisorArgs
from components.machine import Machine, MachineArgs
from components.node import NodeArgs, NodeServices
from components.pki import Pki, PkiArgs
from components.preview import RestartAnnouncement
from components.rollout import Rollout
from host.access import ssh
from lab.node import kubeconfig
from lab.node.node_setup import PROGRAMS
from lab.node.render import RenderedLab
from lab.node.service import Binary, Credential, Image, Part
from lab.pki import ADMIN
from lab.spec import ExistingMachine, Node, Spec
from toolchain.vm_image import VmImage


@dataclass(frozen=True, kw_only=True)
class LabArgs:
    """spec: what to make. rendered: what its nodes get. image: what VMs start from, where there are any.

    digests: SHA-256 of every binary and image that the nodes need. repairs: node and service to what changes when
    that service was found to differ on that node.
    """

    spec: Spec
    rendered: RenderedLab
    image: VmImage | None
    digests: Mapping[Binary | Image, str]
    repairs: Mapping[tuple[str, str], str] = field(default_factory=dict)


class Lab(pulumi.ComponentResource):
    """Makes the lab. The nodes come up side by side; only kubelets wait, for the API server."""

    def __init__(self, name: str, args: LabArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:lab:Lab", name, None, opts)
        self._args, spec = args, args.spec
        self._pki = Pki(f"{name}-pki", PkiArgs(spec=spec, identities=args.rendered.identities), opts=self._child())
        self._key = tls.PrivateKey(f"{name}-ssh-key", algorithm="ED25519", opts=self._child())
        self._hypervisor = (
            Hypervisor(f"{name}-hypervisor", HypervisorArgs(spec=spec, image=args.image), opts=self._child())
            if args.image
            else None
        )
        self._machines = {node.name: self._machine(node) for node in spec.nodes}
        self._announcer = RestartAnnouncement()
        one_by_one, several = Rollout("control-planes", 1), Rollout("workers", spec.simultaneous_restarts)
        self._nodes: dict[str, NodeServices] = {}
        # It founds the cluster where all others are new. Those leave it before it ends.
        first_etcd: list[pulumi.Resource] = [self._machines[node.name].connection.ready for node in spec.control_planes]
        first: list[pulumi.Resource] = []
        for node in spec.control_planes:
            # A new cluster's first API server writes its roles and rules. Several at once would be in each other's way.
            before = {"etcd": first_etcd, "kube-apiserver": first, "kubelet": self._admission()}
            membership = {"etcd": partial(self._etcd_membership, node)}
            self._nodes[node.name] = self._node(node, rollout=one_by_one, waits_for=before, precedents=membership)
            if node == spec.control_planes[0]:
                first, first_etcd = ([self._nodes[node.name].command(name)] for name in ("kube-apiserver", "etcd"))
        api_servers = [node.command(spec.api_server_service) for node in self._nodes.values()]
        for node in spec.workers:
            before = {"kubelet": [*api_servers, *self._admission()]}
            self._nodes[node.name] = self._node(node, rollout=several, waits_for=before)
        self._kubeconfig = self._administrators_kubeconfig() if spec.administered else None
        if spec.administered:
            for node in spec.kubelets:
                self._membership(node)
        if spec.host_routes:
            domains = [machine.domain for machine in self._machines.values() if machine.domain]
            host_routes(f"{name}-host-routes", spec, parent=self, depends_on=domains)
        self.outputs = self._outputs()
        access(self.outputs, parent=self)
        self.register_outputs(self.outputs)

    def _machine(self, node: Node) -> Machine:
        return Machine(
            MachineArgs(
                node=self._args.rendered.nodes[node.name],
                hypervisor=self._hypervisor,
                key=self._key,
            ),
            opts=self._child(),
        )

    def _node(self, node: Node, **others: Any) -> NodeServices:
        spec = self._args.spec
        return NodeServices(
            NodeArgs(
                node=node,
                machine=self._machines[node.name],
                pki=self._pki,
                services=self._args.rendered.nodes[node.name].services,
                digests=self._args.digests,
                health_timeout=spec.health_timeout,
                announcer=self._announcer,
                repairs={
                    service: repair for (name, service), repair in self._args.repairs.items() if name == node.name
                },
                **others,
            ),
            opts=self._child(),
        )

    def _admission(self) -> list[pulumi.Resource]:
        """What lets in kubelets that have no certificate yet. The first control plane's own needs it as its service."""
        spec = self._args.spec
        first = self._nodes.get(spec.control_planes[0].name) if spec.control_planes else None
        return [first.command("node-admission")] if first and spec.tls_bootstrap else []

    def _etcd_membership(self, node: Node, parent: pulumi.Resource) -> pulumi.CustomResource:
        """Is there for as long as the node is a control plane and its disk the same: then its etcd leaves the cluster.

        Another control plane takes it out before the machine goes, so that no vote of it is missed; where the machine
        stays, it has left by then. As this is there before its etcd is, one that was cut off is taken out, too. And the
        first control plane is told that the others have no data yet, see assets/node/etcd-member.
        """
        place = next((other for other in self._args.spec.control_planes if other != node), node)
        machine, at = self._machines[node.name], self._machines[place.name]
        commands = self._args.rendered.nodes[node.name].etcd
        assert commands
        return at.connection.run(
            f"{node.name}-etcd-membership",
            parent=parent,
            create=commands.announce,
            update="true",
            # That may be another machine by then, where an interrupted run goes on.
            delete=f"test ! -e {PROGRAMS}/etcd-member || {commands.leave}",
            depends_on=[machine.connection.ready],
            undone_with=machine.disk,
            # It is the cluster that remembers, whatever machine takes the place of that one.
            lasting=at.domain is None,
        )

    def _membership(self, node: Node) -> None:
        """The node's role, labels and taints; and its leave of the cluster when it is taken away.

        It is an administrator's work, done on the first control plane; on the node itself where the cluster is another
        one's. Of the kubeconfig that it is done by, nothing stays there.
        """
        spec = self._args.spec
        labels = ",".join(f"{label}={value}" for label, value in sorted(node.labels.items()))
        taints = ",".join(map(str, node.taints))
        token_id = self._args.rendered.nodes[node.name].token_id
        program = [f"{PROGRAMS}/membership", *(["--kubeconfig-from-stdin"] if spec.join else [])]
        place = node if spec.join else spec.control_planes[0]
        depends_on = [self._nodes[node.name].command("kube-proxy")]
        if not spec.join:
            depends_on.append(self._nodes[place.name].command("cluster-objects"))
        self._machines[place.name].connection.run(
            f"{node.name}-membership",
            parent=self._nodes[node.name],
            create=shlex.join(
                [*program, "join", node.name, node.role, labels, taints, *([token_id] if token_id else [])]
            ),
            delete=shlex.join([*program, "leave", node.name, str(spec.drain_grace_period)]),
            repair=self._args.repairs.get((node.name, "membership"), ""),
            stdin=self._kubeconfig if spec.join else None,
            depends_on=depends_on,
            lasting=spec.join is not None,
        )

    def _administrators_kubeconfig(self) -> pulumi.Output[str]:
        spec = self._args.spec
        if spec.join and spec.join.kubeconfig:
            return pulumi.Output.secret(spec.join.kubeconfig)
        embedded = pulumi.Output.all(
            authority=self._pki.authority,
            certificate=self._pki.text(Credential(identity=ADMIN, part=Part.CERTIFICATE)),
            key=self._pki.text(Credential(identity=ADMIN, part=Part.KEY)),
        ).apply(lambda texts: kubeconfig.embedded(server=spec.api_endpoint, user=ADMIN, cluster=spec.name, texts=texts))
        return pulumi.Output.secret(embedded)

    def _outputs(self) -> dict[str, pulumi.Input[Any]]:
        spec = self._args.spec
        return {
            **({"kubeconfig": self._kubeconfig} if self._kubeconfig else {}),
            "apiEndpoint": spec.api_endpoint,
            "certificateAuthority": self._pki.authority,
            **({} if spec.join else {"certificateAuthorityKey": pulumi.Output.secret(self._pki.authority_key)}),
            "nodes": {
                node.name: {
                    "role": str(node.role),
                    "address": str(node.address),
                    "kubernetesVersion": node.kubernetes_version,
                    **_of_a_kubelet(node),
                    **_login(node),
                }
                for node in spec.nodes
            },
            "services": {
                name: {service: applied.manifest_digest for service, applied in node.services.items()}
                for name, node in self._nodes.items()
            },
            "sshKey": pulumi.Output.secret(self._key.private_key_openssh),
            "knownHosts": pulumi.Output.concat(
                *(
                    pulumi.Output.concat(
                        ssh.known_host(str(login.address), login.port),
                        " ",
                        pulumi.Output.from_input(login.host_key).apply(str.strip),
                        "\n",
                    )
                    for login in (machine.login for machine in self._machines.values())
                )
            ),
            **({"machineKeys": machine_keys} if (machine_keys := _machine_keys(spec)) else {}),
        }

    def _child(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self)


def _of_a_kubelet(node: Node) -> dict[str, Any]:
    """What the outputs say of a node of the cluster; nothing of a control plane that is none."""
    if node.pod_cidr is None:
        return {}
    taints = [str(taint) for taint in node.taints]
    return {"podCidr": str(node.pod_cidr), "labels": dict(node.labels), "taints": taints}


def _login(node: Node) -> dict[str, str | int]:
    """What the outputs say of how to log in on a node; for all but VMs by its name, for the user is another there."""
    command = f"ssh -F .lab/stacks/{pulumi.get_stack()}/ssh_config"
    if isinstance(node.machine, ExistingMachine):
        return {"user": node.machine.user, "port": node.machine.port, "ssh": f"{command} {node.name}"}
    return {"ssh": f"{command} root@{node.address}"}


def _machine_keys(spec: Spec) -> dict[str, pulumi.Output[str]]:
    """The key that each machine lets in which is not the lab's own."""
    return {
        node.name: pulumi.Output.secret(node.machine.private_key)
        for node in spec.nodes
        if isinstance(node.machine, ExistingMachine)
    }
