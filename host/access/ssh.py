"""How an SSH client reaches a node, for the programs that `pulumi_command` cannot stand in for."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from host.access.access_files import PATIENCE

Text = TypeVar("Text")
"""The type of a key: `str`, or `pulumi.Input[str]` in the Pulumi program."""


@dataclass(frozen=True, kw_only=True)
class NodeLogin(Generic[Text]):
    """Address and credentials of a node's SSH server.

    Attributes:
        address: IPv4 address.
        key: Private key that the node accepts; secret.
        host_key: Public key that the node must prove to have.
        user: root, or a user that may use sudo without a password.
        port: Port of the SSH server.
    """

    address: str
    key: Text = field(repr=False)
    host_key: Text
    user: str = "root"
    port: int = 22


Login = NodeLogin[str]
"""A login with known keys."""


def known_host(address: str, port: int) -> str:
    """What a line of a known_hosts file begins with: sshd(8)."""
    return address if port == 22 else f"[{address}]:{port}"


def as_root(user: str, script: str) -> str:
    """A shell script as a user is to run it, so that root does."""
    return script if user == "root" else shlex.join([*_prefix(user), "sh", "-c", script])


def _prefix(user: str) -> list[str]:
    return [] if user == "root" else ["sudo", "--non-interactive"]


def command(folder: Path, login: Login) -> list[str]:
    """The command line of an SSH client that knows the node's host key and nothing else of this user's.

    What is put behind it is run by root there. folder: where the key and the host key are put for it; only the caller
    may read it, and removes it.
    """
    key, known_hosts = folder / "key", folder / "known_hosts"
    key.touch(mode=0o600)
    key.write_text(login.key)
    known_hosts.write_text(f"{known_host(login.address, login.port)} {login.host_key}\n")
    options = {
        "Port": login.port,
        "IdentityFile": key,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        **PATIENCE,
        "ConnectionAttempts": 5,
        "LogLevel": "ERROR",
    }
    return [
        "ssh",
        "-F",
        "/dev/null",
        *(f"-o{name}={value}" for name, value in options.items()),
        f"{login.user}@{login.address}",
        *_prefix(login.user),
    ]
