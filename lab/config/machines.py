"""What a configuration may say of machines that are already there."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.config.problems import ABSENT, NodeFields, Problems
from lab.config.schema import project
from lab.spec import ExistingMachine

VM_SIZE_KEYS = ("vcpus", "memory", "disk")
"""The keys of a node that say how large its VM is."""


def private_key(text: str) -> str:
    """A private key in PEM, as OpenSSH reads it; raises ValueError."""
    key = text.strip()
    found = re.fullmatch(r"-----BEGIN ((?:[A-Z]+ )?PRIVATE KEY)-----\n(.*)\n-----END \1-----", key, re.DOTALL)
    if not found:
        raise ValueError(
            "must be the text of a private key, as in ~/.ssh/id_ed25519; "
            "`pulumi config set --secret --path KEY <FILE` reads it from there"
        )
    if "ENCRYPTED" in found[0] or (found[1].startswith("OPENSSH") and not _is_open(found[2])):
        raise ValueError("must be a key without a passphrase: there is nobody to ask for it")
    return f"{key}\n"


def _is_open(body: str) -> bool:
    """Whether a key in OpenSSH's format has no passphrase: its cipher is called none.

    https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
    """
    return _decoded(body).startswith(b"openssh-key-v1\0" + b"\0\0\0\4none")


def host_key(text: str) -> str:
    """A public key as in authorized_keys, its comment left out; raises ValueError."""
    found = re.fullmatch(r"([a-z0-9-]+) ([A-Za-z0-9+/]+={0,2})( .*)?", text.strip())
    kind = found[1].encode() if found else b""
    # Its type stands in the key itself, too, behind its length.
    if not found or not _decoded(found[2]).startswith(len(kind).to_bytes(4) + kind):
        raise ValueError("must be a public key with its type before it and no address, as ssh-ed25519 AAAAC3Nz…")
    return f"{found[1]} {found[2]}"


def _decoded(text: str) -> bytes:
    """What base64 stands for; nothing where it is none."""
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""


def check_machines(fields: Mapping[str, Any], workers: Sequence[NodeFields], problems: Problems) -> None:
    """Checks what does not go together with a machine that is already there.

    fields: the values of the lab that nothing is wrong with by themselves. workers: those of each worker.
    """
    of_worker = project().settings["workers"].items
    assert of_worker
    for key, node in workers:
        if node.get("machine") is None:
            continue
        for name in VM_SIZE_KEYS:
            default = of_worker.properties[name].default
            if node.get(name, default) != default:
                problems.add(f"{key}.{name}", node[name], "is for a VM, and with machine there is none; leave it out")
        if fields.get("identityFromUserData"):
            problems.add(
                f"{key}.machine",
                ABSENT,
                "has no user-data that the lab could write; leave out identityFromUserData, or make this worker a VM",
            )


def existing_machine(fields: Mapping[str, Any]) -> ExistingMachine:
    """The machine that a node's field `machine` describes."""
    return ExistingMachine(
        user=fields["user"], port=fields["port"], private_key=fields["privateKey"], host_key=fields["hostKey"]
    )
