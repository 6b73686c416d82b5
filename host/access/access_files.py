"""What a person needs to reach a stack's cluster and nodes, written from the stack's outputs into one folder.

python -m host.access write STACK     standard input: those of NEEDED, as JSON
python -m host.access remove STACK
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host.workspace import Workspace

NEEDED = ("kubeconfig", "nodes", "sshKey", "machineKeys", "knownHosts")
"""The outputs of a stack that it is written from."""
REACHED_BY = ("address", "user", "port")
"""What it is written from of each of the nodes."""

PATIENCE = {"ConnectTimeout": 20, "ServerAliveInterval": 10, "ServerAliveCountMax": 6}
"""Options of ssh_config(5), times in seconds: a node that reboots or loses power ends no connection, and ssh would wait
for it for ever."""
_SSH_CONFIG = """\
# Written from the stack's outputs: ssh -F {config} NODE
{hosts}
Host *
    User root
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
{patience}
"""
# Connected inside, spoken outside: ssh itself runs as everywhere, and takes over the connection that is passed to it.
_CONNECT_INSIDE = """\
    ProxyCommand {in_lab} {python} {connect} %h %p
    ProxyUseFdpass yes
"""


def write(workspace: Workspace, stack: str, outputs: Mapping[str, Any]) -> None:
    """Writes the files of a stack of this checkout. outputs: the stack's, with secrets."""
    in_lab = workspace.bin / "in-lab" if workspace.hypervisor.exists() else None
    write_into(workspace.access(stack), outputs, sys.executable, in_lab)


def remove(workspace: Workspace, stack: str) -> None:
    """Removes the files of a stack of this checkout, those that are there."""
    shutil.rmtree(workspace.access(stack), ignore_errors=True)


def write_into(folder: Path, outputs: Mapping[str, Any], python: str, in_lab: Path | None) -> None:
    """Writes kubeconfig, ssh_config, known_hosts and the keys, each whole or not at all.

    A lab without an administrator of its cluster has no kubeconfig.

    outputs: the stack's, with secrets. python: an interpreter.
    in_lab:  the command that enters a private hypervisor's namespaces, where the nodes are in one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = {name: (f"{name}.key", key) for name, key in outputs.get("machineKeys", {}).items()}
    hosts = "".join(
        f"Host {name}\n    HostName {node['address']}\n"
        + (f"    User {node['user']}\n    Port {node['port']}\n" if "user" in node else "")
        + (f"    IdentityFile {_ssh_path(folder / keys[name][0])}\n" if name in keys else "")
        for name, node in outputs["nodes"].items()
    )
    ssh_config = _SSH_CONFIG.format(
        config=folder / "ssh_config",
        hosts=hosts,
        identity=_ssh_path(folder / "ssh-key"),
        known_hosts=_ssh_path(folder / "known_hosts"),
        patience="\n".join(f"    {option} {value}" for option, value in PATIENCE.items()),
    )
    if in_lab is not None:
        ssh_config += _CONNECT_INSIDE.format(
            in_lab=_ssh_word(in_lab),
            python=_ssh_word(python),
            connect=_ssh_word(Path(__file__).with_name("connect.py")),
        )
    for name, text, mode in (
        ("kubeconfig", outputs.get("kubeconfig"), 0o600),
        ("ssh-key", outputs["sshKey"], 0o600),
        ("known_hosts", outputs["knownHosts"], 0o644),
        ("ssh_config", ssh_config, 0o644),
        *((file, key, 0o600) for file, key in keys.values()),
    ):
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            _put(folder / name, text, mode)


def _ssh_path(path: Path) -> str:
    """A path as ssh_config(5) takes it where tokens such as %h are expanded."""
    return '"' + str(path).replace("%", "%%") + '"'


def _ssh_word(word: str | Path) -> str:
    """A word of a ProxyCommand, which a shell runs after tokens are expanded."""
    return shlex.quote(str(word)).replace("%", "%%")


def _put(path: Path, text: str, mode: int) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text if text.endswith("\n") else f"{text}\n")
    draft.replace(path)
