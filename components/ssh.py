"""How an SSH client reaches a node, for the programs that `pulumi_command` cannot stand in for."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Login:
    """address: where the node answers. key: the private key that it lets in. host_key: what it must prove to have."""

    address: str
    key: str = field(repr=False)
    host_key: str


def command(folder: Path, login: Login) -> list[str]:
    """The command line of an SSH client that knows the node's host key and nothing else of this user's.

    folder: where the key and the host key are put for it; only the caller may read it, and removes it.
    """
    key, known_hosts = folder / "key", folder / "known_hosts"
    key.touch(mode=0o600)
    key.write_text(login.key)
    known_hosts.write_text(f"{login.address} {login.host_key}\n")
    options = {
        "IdentityFile": key,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": 20,
        "ConnectionAttempts": 5,
        "ServerAliveInterval": 10,
        "ServerAliveCountMax": 3,
        "LogLevel": "ERROR",
    }
    return [
        "ssh",
        "-F",
        "/dev/null",
        *(f"-o{name}={value}" for name, value in options.items()),
        f"root@{login.address}",
    ]
