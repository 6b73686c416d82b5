"""The VM of a node, and the connection to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_tls as tls
import yaml

from components.connection import Connection
from components.hypervisor import Hypervisor
from lab.spec import Node


@dataclass(frozen=True, kw_only=True)
class MachineArgs:
    """node: whose VM it is. key: the key that it lets in as root. packages: what it needs besides what all nodes do.

    user_data: what its user-data holds besides what is for cloud-init, which passes over keys that it does not know.
    """

    node: Node
    hypervisor: Hypervisor
    key: tls.PrivateKey
    packages: tuple[str, ...] = ()
    user_data: Mapping[str, Any] = field(default_factory=dict)


class Machine(pulumi.ComponentResource):
    """A VM that has its host key from here, so that the first connection is already to the right machine."""

    def __init__(self, args: MachineArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        name = args.node.name
        super().__init__("hardway:machine:Machine", name, None, opts)
        host_key = tls.PrivateKey(f"{name}-host-key", algorithm="ED25519", opts=pulumi.ResourceOptions(parent=self))
        user_data = pulumi.Output.all(
            args.key.public_key_openssh, host_key.private_key_openssh, host_key.public_key_openssh
        ).apply(lambda keys: _user_data(name, args.user_data, *keys))
        self.domain = args.hypervisor.machine(args.node, pulumi.Output.secret(user_data), parent=self)
        self.connection = Connection(
            name,
            args.node.address,
            key=args.key,
            host_key=host_key,
            machine=self.domain,
            packages=args.packages,
            parent=self,
        )
        self.host_key = host_key.public_key_openssh.apply(str.strip)
        self.register_outputs({"address": str(args.node.address)})


def _user_data(name: str, others: Mapping[str, Any], authorized_key: str, host_key: str, public_host_key: str) -> str:
    """What cloud-init is to do, and what else the node is told.

    It stays the same for the life of the VM: a change of it replaces the VM.
    """
    document = {
        "hostname": name,
        "disable_root": False,
        "ssh_pwauth": False,
        # A locked account could not log in by key either, where sshd works without PAM.
        "users": [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": [authorized_key.strip()]}],
        "ssh_keys": {"ed25519_private": host_key, "ed25519_public": public_host_key.strip()},
        **others,
    }
    return "#cloud-config\n" + yaml.safe_dump(document, sort_keys=False)
