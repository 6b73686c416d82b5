"""SSH clients for the tasks that `pulumi_command` cannot do."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from host.access.access_files import SSH_TIMEOUTS


@dataclass(frozen=True, kw_only=True)
class Login:
    """The way to log in to a node.

    Attributes:
        address: Address of the node.
        key: Private key that the node accepts.
        host_key: Public key that the node must prove to have.
        user: `root`, or a user who may use sudo without a password.
        port: Port of the SSH server.
    """

    address: str
    key: str = field(repr=False)
    host_key: str
    user: str = "root"
    port: int = 22


def known_host(address: str, port: int) -> str:
    """Return the first word of a node's line in a known_hosts file, as in sshd(8)."""
    return address if port == 22 else f"[{address}]:{port}"


def as_root(user: str, script: str) -> str:
    """Return a shell script for a user that runs the given script as root."""
    return script if user == "root" else shlex.join([*_prefix(user), "sh", "-c", script])


def command(folder: Path, login: Login) -> list[str]:
    """Return the command line of an SSH client that knows the node's host key and none of this user's settings.

    Root runs the words that the caller appends.

    Args:
        folder: Folder for the key and the host key. Only the caller may read it, and the caller deletes it.
        login: The node.
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
        **SSH_TIMEOUTS,
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


def _prefix(user: str) -> list[str]:
    return [] if user == "root" else ["sudo", "--non-interactive"]
