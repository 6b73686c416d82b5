"""Talking to a node. Nobody else opens a connection."""

import posixpath
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path

import pulumi
import pulumi_command as command

from components import local
from components.archive import Packed, archive
from components.artifacts import to_line
from host.access import ssh
from lab.node.paths import PROGRAMS, PROGRAMS_ENVIRONMENT, node_environment
from lab.node.service import Artifact
from lab.node.units import ASSETS
from system.files import CHECKOUT

DIAL_ATTEMPTS_UNTIL_BOOTED = 120
DIAL_ATTEMPTS = 10
DIAL_TIMEOUT = 15
"""Seconds that one attempt to connect may take."""


def interpreter() -> str:
    """This program's own Python, for a shell in the project's folder: the machine's has none of its packages.

    Named from that folder where it is in there, so that a checkout that is moved shows no change.
    """
    project, python = CHECKOUT, Path(sys.prefix) / "bin" / "python"
    return shlex.quote(str(python.relative_to(project) if python.is_relative_to(project) else python))


@dataclass(frozen=True, kw_only=True)
class Login:
    """address: where the node answers. user: root, or one that may use sudo without a password.

    key: the private key that it lets in. host_key: the public key that it must prove to have.
    """

    address: IPv4Address
    user: str = "root"
    port: int = 22
    key: pulumi.Input[str]
    host_key: pulumi.Input[str]


class Connection:
    """Waits until a node answers, brings it the programs of `assets/node`, and runs commands there.

    Secrets go by standard input alone; nothing of a command's output is logged or handed to a later run.
    """

    def __init__(
        self,
        node: str,
        login: Login,
        *,
        machine: pulumi.CustomResource | None,
        taken: Sequence[str] = (),
        packages: Sequence[str],
        parent: pulumi.Resource,
    ) -> None:
        """node: the node's name. machine: what carries it; with that gone, nothing on it needs undoing.

        taken: what `assets/node/machine` is told, which then gives the machine back in the end: for one that was there
        before and stays. packages: what it needs besides what all nodes do. parent: of the command that makes it ready.
        """
        self._node, self._login, self._machine, self._is_taken = node, login, machine, bool(taken)
        take = f"{shlex.join([f'{PROGRAMS}/machine', 'claim', *taken])} && " if taken else ""
        self.ready = self._command(
            f"{node}-prepared",
            create=f"mkdir -p {PROGRAMS} && base64 -d | tar -x -z -C {PROGRAMS} && {take}"
            + shlex.join([f"{PROGRAMS}/install-prerequisites", *packages]),
            stdin=_programs(),
            delete=f"test ! -e {PROGRAMS}/machine || {PROGRAMS}/machine release" if taken else None,
            parent=parent,
            depends_on=[machine] if machine else [],
            dial_attempts=DIAL_ATTEMPTS_UNTIL_BOOTED,
        )

    def run(
        self,
        name: str,
        *,
        parent: pulumi.Resource,
        create: str,
        stdin: pulumi.Input[str] | None = None,
        delete: str | None = None,
        update: str | None = None,
        repair: str = "",
        after: pulumi.CustomResource | None = None,
        undone_with: pulumi.CustomResource | None = None,
        depends_on: Sequence[pulumi.Resource] = (),
        hooks: pulumi.ResourceHookBinding | None = None,
        lasting: bool = False,
    ) -> command.remote.Command:
        """Runs `create` on the node now, and again whenever it or `stdin` changes; `delete` when it is taken away.

        update: what is run instead of `create` whenever something changes.
        after: a command that is run before, and after whose successor this is run again.
        undone_with: what must not be replaced before this is undone, which is then done anew.
        repair: changes when what it does was found undone, so that it is run again.
        lasting: whether what it does outlasts the machine: it is undone before that goes, and stays done where another
        machine takes its place.

        What is run must converge: it may be cut off and run again, and a change runs it over what is there.
        """
        return self._command(
            name,
            create=create,
            stdin=stdin,
            delete=delete,
            update=update,
            repair=repair,
            after=after,
            undone_with=undone_with,
            parent=parent,
            depends_on=[self.ready, *depends_on],
            dial_attempts=DIAL_ATTEMPTS,
            hooks=hooks,
            lasting=lasting,
        )

    def push_binaries(
        self, name: str, wanted: Mapping[Artifact, str], *, parent: pulumi.Resource, repair: str = ""
    ) -> command.local.Command:
        """Brings to the node's store what it lacks of `wanted`: binary or image to SHA-256.

        A node is sent nothing that it has, be it from an earlier push or from the image that it was born with.
        """
        login = pulumi.Output.json_dumps(
            {
                "address": str(self._login.address),
                "key": self._login.key,
                "host_key": self._login.host_key,
                "user": self._login.user,
                "port": self._login.port,
            }
        )
        return local.run(
            name,
            create=f"{interpreter()} -m components.push",
            environment={
                "HARDWAY_NODE": self._node,
                "HARDWAY_BINARIES": "\n".join(sorted(to_line(*entry) for entry in wanted.items())),
                **({"HARDWAY_MACHINE": self._machine.id} if self._machine else {}),
                **({"HARDWAY_REPAIR": repair} if repair else {}),
            },
            stdin=login,
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[self.ready], deleted_with=self._machine),
        )

    def _command(
        self,
        name: str,
        *,
        create: str,
        parent: pulumi.Resource,
        depends_on: Sequence[pulumi.Resource],
        dial_attempts: int,
        stdin: pulumi.Input[str] | None = None,
        delete: str | None = None,
        update: str | None = None,
        repair: str = "",
        after: pulumi.CustomResource | None = None,
        undone_with: pulumi.CustomResource | None = None,
        hooks: pulumi.ResourceHookBinding | None = None,
        lasting: bool = False,
    ) -> command.remote.Command:
        return command.remote.Command(
            name,
            create=self._marked(ssh.as_root(self._login.user, create), repair, after),
            update=ssh.as_root(self._login.user, update) if update else None,
            delete=ssh.as_root(self._login.user, delete) if delete else None,
            stdin=stdin,
            connection=command.remote.ConnectionArgs(
                host=str(self._login.address),
                port=self._login.port,
                user=self._login.user,
                private_key=self._login.key,
                host_key=self._login.host_key,
                dial_error_limit=dial_attempts,
                per_dial_timeout=DIAL_TIMEOUT,
            ),
            # Another address is another machine: that one is taken first, then this one is given back.
            triggers=[str(self._login.address)] if self._is_taken and not lasting else None,
            logging=command.remote.Logging.NONE,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(
                parent=parent,
                depends_on=list(depends_on),
                deleted_with=None if lasting else self._machine,
                replace_with=[undone_with] if undone_with else None,
                delete_before_replace=True if undone_with else None,
                hooks=hooks,
            ),
        )

    def _marked(self, command: str, repair: str, after: pulumi.CustomResource | None) -> pulumi.Input[str]:
        """A command that is run again for a repair, where another VM takes the place of this one, and after a command.

        The VM may have an empty disk. A shell takes what follows the sign for a comment.
        """
        marked = f"{command} # {repair}" if repair else command
        marks = {" # after ": after, " # VM ": self._machine}
        parts = [part for sign, resource in marks.items() if resource for part in (sign, resource.id)]
        return pulumi.Output.concat(marked, *parts) if parts else marked


@cache
def _programs() -> str:
    """Return the archive of the programs that every node has, with the files that they source."""
    files = {path.name: path.read_bytes() for path in (ASSETS / "node").iterdir()}
    files[posixpath.basename(PROGRAMS_ENVIRONMENT)] = node_environment().encode()
    return archive(
        {
            name: Packed(content=content, mode=0o755 if content.startswith(b"#!") else 0o644)
            for name, content in files.items()
        }
    )
