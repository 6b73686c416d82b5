"""Existing machines in a configuration: converters of SSH keys, and the rules for workers on such machines."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Literal

from lab.config.problems import Problems
from lab.config.schema import project
from lab.config.values import Configuration
from lab.spec import ExistingMachine

VM_SIZE_KEYS: tuple[Literal["vcpus", "memory", "disk"], ...] = ("vcpus", "memory", "disk")
"""The keys of a node that set the size of its VM."""


def private_key(text: str) -> str:
    """Check a private key in a PEM format that OpenSSH reads.

    Raises:
        ValueError: The text is not a private key, or the key has a passphrase.
    """
    key = text.strip()
    match = re.fullmatch(r"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----\n(.*)\n-----END \1-----", key, re.DOTALL)
    if not match:
        raise ValueError(
            "must be the text of a private key, such as the content of ~/.ssh/id_ed25519; to set it from a file, use "
            "`pulumi config set --secret --path KEY <FILE`"
        )
    if "ENCRYPTED" in match[0] or (match[1].startswith("OPENSSH") and not _is_unencrypted(match[2])):
        raise ValueError("must be a key without a passphrase, because the lab connects without asking anybody")
    return f"{key}\n"


def _is_unencrypted(body: str) -> bool:
    """Return True if a key in OpenSSH's format has no passphrase: its cipher is named "none".

    See https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key.
    """
    return _base64_decoded(body).startswith(b"openssh-key-v1\0" + b"\0\0\0\4none")


def host_key(text: str) -> str:
    """Check a public key in the format of authorized_keys, and remove its comment.

    Raises:
        ValueError: The text is not a public key.
    """
    match = re.fullmatch(r"([a-z0-9-]+) ([A-Za-z0-9+/]+={0,2})( .*)?", text.strip())
    key_type = match[1].encode() if match else b""
    # The decoded key begins with the length and the name of its type.
    if not match or not _base64_decoded(match[2]).startswith(len(key_type).to_bytes(4) + key_type):
        raise ValueError("must be a public key that begins with its type, without an address: ssh-ed25519 AAAAC3Nz…")
    return f"{match[1]} {match[2]}"


def existing_machine(fields: Mapping[str, Any]) -> ExistingMachine:
    """Convert the field `machine` of a node."""
    return ExistingMachine(
        user=fields["user"], port=fields["port"], private_key=fields["privateKey"], host_key=fields["hostKey"]
    )


def _base64_decoded(text: str) -> bytes:
    """Return decoded Base64; empty if the text is not Base64."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def check_existing_machines(configuration: Configuration, problems: Problems) -> None:
    """Check that workers on existing machines have no settings of VMs."""
    worker_schema = project().schema["workers"].items
    assert worker_schema
    for key, node in (worker for worker in configuration.workers if worker.is_existing_machine):
        for name in VM_SIZE_KEYS:
            default = worker_schema.properties[name].default
            if node.get(name, default) != default:
                problems.add(
                    f"{key}.{name}", "sets the size of a VM, but this worker has a machine; remove it", node[name]
                )
        if configuration.lab.get("identityFromUserData"):
            problems.add(
                f"{key}.machine",
                "is an existing machine, which has no user-data; remove identityFromUserData, or make this worker a VM",
            )
