"""The machine of a node, a new VM or an existing machine, and the connection to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_tls as tls
import yaml

from components.connection import Connection, ConnectionArgs
from components.gate import Gate
from components.hypervisor import Hypervisor, Vm
from components.vm_rollout import VmRollout
from host.access.ssh import NodeLogin
from lab.node.render import RenderedNode
from lab.spec import ExistingMachine


@dataclass(frozen=True, kw_only=True)
class MachineArgs:
    """Arguments of `Machine`.

    Attributes:
        node: The node that runs on the machine.
        hypervisor: Creates VMs; None where the lab has none.
        key: Key that VMs accept for root.
        gate: Keeps changes of the machine back.
        rollout: Limits how many VMs are recreated at the same time.
        hooks: Hooks of the VM; None for none.
    """

    node: RenderedNode
    hypervisor: Hypervisor | None
    key: tls.PrivateKey
    gate: Gate
    rollout: VmRollout
    hooks: pulumi.ResourceHookBinding | None = None


class Machine(pulumi.ComponentResource):
    """Creates the VM of a node or adopts an existing machine, and waits until it answers.

    The host key of a VM is created here; that of an existing machine is configured. So even the first connection
    cannot reach a wrong machine.

    Attributes:
        login: Address and credentials.
        connection: Connection to the machine.
        vm: The VM; None for an existing machine.
        host_key: The host key of the VM; None for an existing machine.
        slowdown: Factor by which services on the machine may take longer than elsewhere.
    """

    def __init__(self, name: str, args: MachineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:machine:Machine", name, None, opts)
        node = args.node.node
        self.vm: Vm | None = None
        self.host_key: tls.PrivateKey | None = None
        self.slowdown = 1
        if isinstance(node.machine, ExistingMachine):
            self.login = NodeLogin[pulumi.Input[str]](
                address=str(node.address),
                user=node.machine.user,
                port=node.machine.port,
                key=pulumi.Output.secret(node.machine.private_key),
                host_key=node.machine.host_key,
            )
        else:
            self.login = self._create_vm(name, args)
        self.connection = Connection(
            name,
            ConnectionArgs(
                login=self.login,
                gate=args.gate,
                machine=self.vm and self.vm.domain,
                claim=args.node.claim,
                packages=args.node.packages,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({"address": str(node.address)})

    def _create_vm(self, name: str, args: MachineArgs) -> NodeLogin[pulumi.Input[str]]:
        node = args.node
        self.host_key = host_key = tls.PrivateKey(
            f"{name}-host-key", algorithm="ED25519", opts=pulumi.ResourceOptions(parent=self)
        )
        user_data = pulumi.Output.all(
            args.key.public_key_openssh, host_key.private_key_openssh, host_key.public_key_openssh
        ).apply(lambda keys: _user_data(name, node.user_data, *keys))
        assert args.hypervisor, f"{name} is a VM, and there is no hypervisor"
        self.slowdown = args.hypervisor.slowdown
        self.vm = args.hypervisor.machine(
            node.node, pulumi.Output.secret(user_data), args.rollout, parent=self, hooks=args.hooks
        )
        return NodeLogin[pulumi.Input[str]](
            address=str(node.node.address),
            key=args.key.private_key_openssh,
            host_key=host_key.public_key_openssh,
        )


def _host_name(name: str) -> dict[str, Any]:
    """Return the keys that set the host name. Without `fqdn`, cloud-init cuts a name at its first dot."""
    if "." not in name:
        return {"hostname": name}
    return {"hostname": name, "fqdn": name, "prefer_fqdn_over_hostname": True}


def _user_data(name: str, others: Mapping[str, Any], authorized_key: str, host_key: str, public_host_key: str) -> str:
    """Return the VM's user-data: keys of cloud-init, and others that cloud-init ignores.

    It never changes during the life of the VM, because a change would replace the VM.
    """
    document = {
        **_host_name(name),
        "disable_root": False,
        "ssh_pwauth": False,
        # A locked account could not log in by key either if sshd works without PAM.
        "users": [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": [authorized_key.strip()]}],
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": public_host_key.strip()},
        **others,
    }
    return "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False)
