"""Talking to a node. Nobody else opens a connection."""

import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from ipaddress import IPv4Address

import pulumi
import pulumi_command as command
import pulumi_tls as tls

from components.archive import Packed, archive
from components.artifacts import Thing, to_line
from lab.node_setup import PROGRAMS
from lab.units import ASSETS

DIAL_ATTEMPTS_UNTIL_BOOTED = 120
DIAL_ATTEMPTS = 10
DIAL_TIMEOUT = 15
"""Seconds that one attempt to connect may take."""


class Connection:
    """Waits until a node answers, brings it the programs of `assets/node`, and runs commands there.

    Secrets go by standard input alone; nothing of a command's output is logged or handed to a later run.
    """

    def __init__(
        self,
        node: str,
        address: IPv4Address,
        *,
        key: tls.PrivateKey,
        host_key: tls.PrivateKey,
        machine: pulumi.Resource,
        packages: Sequence[str],
        parent: pulumi.Resource,
    ) -> None:
        """node: the node's name. address: where it answers. key: the key that it lets in.

        host_key: the key that it must prove to have. machine: what carries it; with that gone, nothing on it needs
        undoing. packages: what it needs besides what all nodes do. parent: of the command that makes it ready.
        """
        self._node, self._address, self._key, self._host_key, self._machine = node, address, key, host_key, machine
        self.ready = self._command(
            f"{node}-prepared",
            create=f"mkdir -p {PROGRAMS} && base64 -d | tar -x -z -C {PROGRAMS} && "
            + shlex.join([f"{PROGRAMS}/prepare-node", *packages]),
            stdin=_programs(),
            parent=parent,
            depends_on=[machine],
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
        depends_on: Sequence[pulumi.Resource] = (),
        hooks: pulumi.ResourceHookBinding | None = None,
        lasting: bool = False,
    ) -> command.remote.Command:
        """Runs `create` on the node now, and again whenever it or `stdin` changes; `delete` when it is taken away.

        lasting: whether what it does outlasts the machine, so that it must be undone before that goes.

        What is run must converge: it may be cut off and run again, and a change runs it over what is there.
        """
        return self._command(
            name,
            create=create,
            stdin=stdin,
            delete=delete,
            parent=parent,
            depends_on=[self.ready, *depends_on],
            dial_attempts=DIAL_ATTEMPTS,
            hooks=hooks,
            lasting=lasting,
        )

    def push_binaries(
        self, name: str, wanted: Mapping[Thing, str], *, parent: pulumi.Resource, repair: str = ""
    ) -> command.local.Command:
        """Brings to the node's store what it lacks of `wanted`: binary or image to SHA-256.

        A node is sent nothing that it has, be it from an earlier push or from the image that it was born with.
        """
        login = pulumi.Output.json_dumps(
            {
                "address": str(self._address),
                "key": self._key.private_key_openssh,
                "host_key": self._host_key.public_key_openssh,
            }
        )
        return command.local.Command(
            name,
            create="python3 -m components.push",
            environment={
                "HARDWAY_NODE": self._node,
                "HARDWAY_BINARIES": "\n".join(sorted(to_line(*entry) for entry in wanted.items())),
                **({"HARDWAY_REPAIR": repair} if repair else {}),
            },
            stdin=login,
            logging=command.local.Logging.NONE,
            add_previous_output_in_env=False,
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
        hooks: pulumi.ResourceHookBinding | None = None,
        lasting: bool = False,
    ) -> command.remote.Command:
        return command.remote.Command(
            name,
            create=create,
            delete=delete,
            stdin=stdin,
            connection=command.remote.ConnectionArgs(
                host=str(self._address),
                user="root",
                private_key=self._key.private_key_openssh,
                host_key=self._host_key.public_key_openssh,
                dial_error_limit=dial_attempts,
                per_dial_timeout=DIAL_TIMEOUT,
            ),
            logging=command.remote.Logging.NONE,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions(
                parent=parent,
                depends_on=list(depends_on),
                deleted_with=None if lasting else self._machine,
                hooks=hooks,
            ),
        )


@cache
def _programs() -> str:
    """The archive of the programs that every node has."""
    return archive(
        {path.name: Packed(content=path.read_bytes(), mode=0o755) for path in sorted((ASSETS / "node").iterdir())}
    )
