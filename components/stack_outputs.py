"""The outputs of the stack."""

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

from components.machine import Machine
from components.node import NodeServices
from components.pki import Pki
from host.access import ssh
from lab.outputs import AdministratorOutputs, NodeOutputs, StackOutputs
from lab.pki import ADMIN, CLUSTER_ADMINS_GROUP, MASTERS_GROUP, identities
from lab.spec import ExistingMachine, Node, Spec


@dataclass(frozen=True, kw_only=True)
class StackOutputsArgs:
    """Arguments of `stack_outputs`.

    Attributes:
        spec: The lab.
        pki: Gives the certificate and key of the CA.
        ssh_key: Key that VMs accept for root.
        machines: Machines by node name.
        nodes: Services of the nodes by node name.
        kubeconfig: Administrator's kubeconfig; None without an administrator.
    """

    spec: Spec
    pki: Pki
    ssh_key: tls.PrivateKey
    machines: Mapping[str, Machine]
    nodes: Mapping[str, NodeServices]
    kubeconfig: pulumi.Output[str] | None


def stack_outputs(args: StackOutputsArgs) -> StackOutputs[pulumi.Input[str]]:
    """Return everything that the stack exports."""
    spec = args.spec
    return StackOutputs(
        kubeconfig=args.kubeconfig,
        administrator=_administrator(args),
        api_endpoint=spec.api_endpoint,
        certificate_authority=args.pki.authority,
        certificate_authority_key=None if spec.join else pulumi.Output.secret(args.pki.authority_key),
        nodes={node.name: _node_outputs(node) for node in spec.nodes},
        services={
            name: {service: applied.manifest_digest for service, applied in node.services.items()}
            for name, node in args.nodes.items()
        },
        ssh_key=pulumi.Output.secret(args.ssh_key.private_key_openssh),
        known_hosts=pulumi.Output.concat(*(_known_host(machine) for machine in args.machines.values())),
        machine_keys={
            node.name: pulumi.Output.secret(node.machine.private_key)
            for node in spec.nodes
            if isinstance(node.machine, ExistingMachine)
        },
        pod_network=str(spec.pod_network),
    )


def _administrator(args: StackOutputsArgs) -> AdministratorOutputs[pulumi.Input[str]] | None:
    """Return the administrator whose certificates the lab signs; None if it signs none.

    A cluster that the lab joins has no binding of the lab.
    """
    spec = args.spec
    if ADMIN not in identities(spec):
        return None
    group: pulumi.Input[str] = MASTERS_GROUP
    if spec.control_planes:
        binding = args.nodes[spec.control_planes[0].name].services["addons"].command
        group = pulumi.Output.unsecret(binding.id.apply(lambda _: CLUSTER_ADMINS_GROUP))
    return AdministratorOutputs(group=group, certificate_hours=spec.certificates.admin_validity)


def _node_outputs(node: Node) -> NodeOutputs:
    client = f"ssh -F .lab/stacks/{pulumi.get_stack()}/ssh_config"
    machine = node.machine if isinstance(node.machine, ExistingMachine) else None
    return NodeOutputs(
        role=str(node.role),
        address=str(node.address),
        kubernetes_version=node.kubernetes_version,
        # By its name, an existing machine gets its user from the client's configuration.
        ssh=f"{client} {node.name}" if machine else f"{client} root@{node.address}",
        pod_cidr=str(node.pod_cidr) if node.pod_cidr else None,
        labels=dict(node.labels),
        taints=tuple(map(str, node.taints)),
        user=machine.user if machine else None,
        port=machine.port if machine else None,
        host=node.host or None,
    )


def _known_host(machine: Machine) -> pulumi.Output[str]:
    login = machine.login
    host_key = pulumi.Output.from_input(login.host_key).apply(str.strip)
    return pulumi.Output.concat(ssh.known_host(login.address, login.port), " ", host_key, "\n")
