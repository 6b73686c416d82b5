"""The files with which a person reaches a stack's cluster and nodes, written from the stack's outputs."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host.workspace import Workspace
from lab.outputs import StackOutputs
from system.files import CHECKOUT, write_atomically

NEEDED = ("kubeconfig", "nodes", "sshKey", "machineKeys", "knownHosts")
"""The outputs of a stack that the files are written from."""
REACHED_BY = ("address", "user", "port")
"""The fields of a node's outputs that the files are written from."""

_EMBEDDED = re.compile(r"client-certificate-data: (\S+)\n +client-key-data: \S+\n")
"""The credentials in a kubeconfig of the lab: see `lab.node.kubeconfig`."""

SSH_TIMEOUTS = {"ConnectTimeout": 20, "ServerAliveInterval": 10, "ServerAliveCountMax": 6}
"""Options of ssh_config(5), times in seconds. A node that reboots or loses power closes no connection, and ssh would
wait for it forever."""
_SSH_CONFIG = """\
# Written from the stack's outputs: ssh -F {config} NODE
{hosts}
Host *
    User root
    IdentityFile {identity}
    IdentitiesOnly yes
    UserKnownHostsFile {known_hosts}
    StrictHostKeyChecking yes
{timeouts}
"""
# Only the connection is made inside the private network. ssh itself runs outside, and receives the connection.
_CONNECT_INSIDE = """\
    ProxyCommand {in_lab} {python} {connect} %h %p
    ProxyUseFdpass yes
"""


@dataclass(frozen=True, kw_only=True)
class NodeAccess:
    """The way to log in to a node.

    Attributes:
        address: IPv4 address.
        user: User to log in as. None for a VM, which accepts root.
        port: Port of the SSH server. None for a VM, which uses 22.
    """

    address: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True, kw_only=True)
class AccessDetails:
    """The part of a stack's outputs that the files are written from.

    Attributes:
        nodes: Nodes by name.
        ssh_key: Private key that the VMs accept for root; secret.
        known_hosts: Host keys of all nodes, as in a known_hosts file.
        kubeconfig: An administrator's kubeconfig; secret. None if the lab has no administrator.
        signs_administrators: True if the lab signs certificates of administrators.
        machine_keys: Private keys of existing machines, by node name; secret.
    """

    nodes: Mapping[str, NodeAccess]
    ssh_key: str
    known_hosts: str
    kubeconfig: str | None = None
    signs_administrators: bool = False
    machine_keys: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_outputs(cls, outputs: StackOutputs[str]) -> AccessDetails:
        """Return the details from all outputs of a stack."""
        return cls.from_dict(outputs.to_dict())

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AccessDetails:
        """Return the details from a stack's outputs by their exported names. Other outputs are ignored."""
        return cls(
            nodes={
                name: NodeAccess(
                    address=node["address"],
                    user=node.get("user"),
                    port=None if node.get("port") is None else int(node["port"]),
                )
                for name, node in values["nodes"].items()
            },
            ssh_key=values["sshKey"],
            known_hosts=values["knownHosts"],
            kubeconfig=values.get("kubeconfig"),
            signs_administrators=bool(values.get("administrator")),
            machine_keys=values.get("machineKeys", {}),
        )


def write(workspace: Workspace, stack: str, details: AccessDetails) -> None:
    """Write the files of a stack of this checkout."""
    in_lab = workspace.bin / "in-lab" if workspace.hypervisor.exists() else None
    write_ssh_files(workspace.access(stack), details, sys.executable, in_lab)
    _write_kubeconfigs(workspace, stack, details)


def remove(workspace: Workspace, stack: str) -> None:
    """Remove the files of a stack of this checkout, if they exist. Snapshots of its etcd and of the lab stay."""
    folder, etcd, lab = workspace.access(stack), workspace.etcd_snapshots(stack), workspace.snapshots(stack)
    kept = {path for path, pattern in ((etcd, "*.db"), (lab, "*")) if any(path.glob(pattern))}
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in set(folder.iterdir()) - kept:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def write_ssh_files(folder: Path, details: AccessDetails, python: str, in_lab: Path | None) -> None:
    """Write ssh_config, known_hosts and the keys, each of them atomically.

    Args:
        folder: The folder, created if it does not exist.
        details: The details.
        python: A Python interpreter.
        in_lab: The command that enters a private libvirt's namespaces. None if the nodes can be reached without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = {name: folder / f"{name}.key" for name in details.machine_keys}
    hosts = "".join(
        f"Host {name}\n    HostName {node.address}\n"
        + (f"    User {node.user}\n    Port {node.port}\n" if node.user is not None else "")
        + (f"    IdentityFile {_quote_path(keys[name])}\n" if name in keys else "")
        for name, node in details.nodes.items()
    )
    ssh_config = _SSH_CONFIG.format(
        config=folder / "ssh_config",
        hosts=hosts,
        identity=_quote_path(folder / "ssh-key"),
        known_hosts=_quote_path(folder / "known_hosts"),
        timeouts="\n".join(f"    {option} {value}" for option, value in SSH_TIMEOUTS.items()),
    )
    if in_lab is not None:
        ssh_config += _CONNECT_INSIDE.format(
            in_lab=_quote_word(in_lab),
            python=_quote_word(python),
            connect=_quote_word(Path(__file__).with_name("connect.py")),
        )
    for path, text, mode in (
        (folder / "ssh-key", details.ssh_key, 0o600),
        (folder / "known_hosts", details.known_hosts, 0o644),
        (folder / "ssh_config", ssh_config, 0o644),
        *((keys[name], key, 0o600) for name, key in details.machine_keys.items()),
    ):
        write_atomically(path, _with_end(text), mode)


def _write_kubeconfigs(workspace: Workspace, stack: str, details: AccessDetails) -> None:
    """Write the kubeconfigs of the administrator, and remove those that the lab does not have.

    A kubeconfig that was given is written as it is. One of the lab gets its credentials from a program, which signs a
    certificate for some hours.
    """
    kubeconfig, super_admin, certificate = details.kubeconfig, None, None
    if kubeconfig is not None and details.signs_administrators:
        [encoded] = _EMBEDDED.findall(kubeconfig)
        certificate = base64.b64decode(encoded).decode()
        super_admin = _with_plugin(kubeconfig, stack, "--super-admin")
        kubeconfig = _with_plugin(kubeconfig, stack)
    path = workspace.admin_certificate(stack)
    if not path.exists() or path.read_text() != certificate:
        # Perhaps another key of the authority issues now.
        workspace.admin_credential(stack).unlink(missing_ok=True)
    for path, text in (
        (workspace.kubeconfig(stack), kubeconfig),
        (workspace.super_admin_kubeconfig(stack), super_admin),
        (workspace.admin_certificate(stack), certificate),
    ):
        if text is None:
            path.unlink(missing_ok=True)
        else:
            write_atomically(path, _with_end(text), 0o600)


def _with_plugin(kubeconfig: str, stack: str, *options: str) -> str:
    """Return a kubeconfig of the lab with a credential plugin instead of its certificate and key.

    See https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.
    """
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(Workspace(CHECKOUT).venv / "bin/python"),
        "args": ["-P", "-m", "ops.access.credential", "--stack", stack, *options],
        "env": [{"name": "PYTHONPATH", "value": str(CHECKOUT)}],
        "interactiveMode": "Never",
        "installHint": "Write this kubeconfig again in the lab's checkout: .lab/bin/hardway access",
    }
    # JSON is YAML, too. This module has no other writer, because it also runs without the lab's Python environment.
    return _EMBEDDED.sub(lambda _: f"exec: {json.dumps(plugin)}\n", kubeconfig)


def written_nodes(workspace: Workspace, stack: str) -> frozenset[str]:
    """Return the names of the nodes in a stack's ssh_config: those of its last `up`, none before the first."""
    path = workspace.access(stack) / "ssh_config"
    lines = path.read_text().splitlines() if path.exists() else []
    return frozenset(line.removeprefix("Host ") for line in lines if line.startswith("Host ")) - {"*"}


def _with_end(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _quote_path(path: Path) -> str:
    """Quote a path for an option of ssh_config(5) that expands tokens such as %h."""
    return '"' + str(path).replace("%", "%%") + '"'


def _quote_word(word: str | Path) -> str:
    """Quote a word of a ProxyCommand, which a shell runs after ssh has expanded tokens."""
    return shlex.quote(str(word)).replace("%", "%%")
