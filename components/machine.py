"""What carries a node, a VM or a machine that is already there, and the connection to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

import pulumi
import pulumi_tls as tls
import yaml

from components.connection import Connection, Login
from components.hypervisor import Hypervisor
from lab.node.render import RenderedNode
from lab.spec import ExistingMachine


@dataclass(frozen=True, kw_only=True)
class MachineArgs:
    """Arguments of `Machine`.

    Attributes:
        node: The node that the machine carries.
        hypervisor: Creates VMs; None where the lab has none.
        key: Key that VMs accept for root.
    """

    node: RenderedNode
    hypervisor: Hypervisor | None
    key: tls.PrivateKey


class Machine(pulumi.ComponentResource):
    """Makes the VM of a node, or takes the machine that is already there, and waits until it answers.

    A VM has its host key from here, that of another machine was configured: the first connection is to the right one.
    """

    def __init__(self, args: MachineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        node = args.node.node
        super().__init__("hardway:machine:Machine", node.name, None, opts)
        self.domain: pulumi.CustomResource | None = None
        self.disk: pulumi.CustomResource | None = None
        if isinstance(node.machine, ExistingMachine):
            self.login = _login(node.address, node.machine)
        else:
            self.login = self._virtual(args)
        self.connection = Connection(
            node.name,
            self.login,
            machine=self.domain,
            taken=args.node.claim,
            packages=args.node.packages,
            parent=self,
        )
        self.register_outputs({"address": str(node.address)})

    def _virtual(self, args: MachineArgs) -> Login:
        """Makes the VM; returns how it is reached."""
        name = args.node.node.name
        host_key = tls.PrivateKey(f"{name}-host-key", algorithm="ED25519", opts=pulumi.ResourceOptions(parent=self))
        user_data = pulumi.Output.all(
            args.key.public_key_openssh, host_key.private_key_openssh, host_key.public_key_openssh
        ).apply(lambda keys: _user_data(name, args.node.user_data, *keys))
        assert args.hypervisor, f"{name} is a VM, and there is no hypervisor"
        self.domain, self.disk = args.hypervisor.machine(args.node.node, pulumi.Output.secret(user_data), parent=self)
        return Login(
            address=args.node.node.address, key=args.key.private_key_openssh, host_key=host_key.public_key_openssh
        )


def _login(address: IPv4Address, machine: ExistingMachine) -> Login:
    return Login(
        address=address,
        user=machine.user,
        port=machine.port,
        key=pulumi.Output.secret(machine.private_key),
        host_key=machine.host_key,
    )


def _host_name(name: str) -> dict[str, Any]:
    """What makes a name the host name as it stands: without the rest, cloud-init takes it up to its first dot alone."""
    if "." not in name:
        return {"hostname": name}
    return {"hostname": name, "fqdn": name, "prefer_fqdn_over_hostname": True}


def _user_data(name: str, others: Mapping[str, Any], authorized_key: str, host_key: str, public_host_key: str) -> str:
    """What cloud-init is to do, and what else the node is told.

    It stays the same for the life of the VM: a change of it replaces the VM.
    """
    document = {
        **_host_name(name),
        "disable_root": False,
        "ssh_pwauth": False,
        # A locked account could not log in by key either, where sshd works without PAM.
        "users": [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": [authorized_key.strip()]}],
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": public_host_key.strip()},
        **others,
    }
    return "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False)
