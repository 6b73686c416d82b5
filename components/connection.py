"""Commands on nodes over SSH. No other module connects to a node."""

import asyncio
import posixpath
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pulumi
import pulumi_command as command

from components import local
from components.archive import Packed, archive
from components.artifacts import to_line
from components.gate import Gate
from host.access import ssh
from lab.node.paths import NODE_ENVIRONMENT, PROGRAMS, PROGRAMS_ENVIRONMENT
from lab.node.service import Artifact
from lab.node.units import ASSETS
from system.errors import HardwayError
from system.files import CHECKOUT

DIAL_ATTEMPTS_UNTIL_BOOTED = 120
DIAL_ATTEMPTS = 10
DIAL_TIMEOUT = 15
"""Seconds that one attempt to connect may take."""


def interpreter() -> str:
    """Return this program's Python for a shell command. The machine's own Python lacks the packages.

    The path is relative if the interpreter is inside the project's folder, so that a moved checkout shows no change.
    """
    project, python = CHECKOUT, Path(sys.prefix) / "bin" / "python"
    return shlex.quote(str(python.relative_to(project) if python.is_relative_to(project) else python))


@dataclass(frozen=True, kw_only=True)
class Script:
    """Shell that runs on a node.

    The shell must converge: it may be interrupted and run again, and a change runs it over its former result.

    Attributes:
        create: Runs first, and again whenever it or `stdin` changes.
        update: Runs instead of `create` when something changes.
        delete: Runs when the command leaves the program.
        stdin: Standard input of all three. The only way for secrets to a node.
        repair: A new value runs `create` again.
        state: Identifies the settings of the state that the script keeps on the node, so that a hook can tell from the
            inputs of the command that they change: see `state_changes`.
        after: Command that runs before this one. When it is recreated, `create` runs again.
        outlives_machine: The result is not on the machine. The engine then runs `delete` before it deletes the
            machine, and another machine in the same place changes nothing.
    """

    create: str
    update: str | None = None
    delete: str | None = None
    stdin: pulumi.Input[str] | None = None
    repair: str = ""
    state: pulumi.Input[str] = ""
    after: pulumi.CustomResource | None = None
    outlives_machine: bool = False


@dataclass(frozen=True, kw_only=True)
class ConnectionArgs:
    """Arguments of `Connection`.

    Attributes:
        login: Address and credentials.
        gate: Keeps changes of the node back.
        machine: VM of the node. When it is deleted, no `delete` on it needs to run. None for an existing
            machine.
        claim: Arguments of `assets/node/machine claim` for an existing machine. The node releases the machine at the
            end. Empty for a VM.
        packages: Debian packages that the node needs in addition to those of every node.
    """

    login: ssh.NodeLogin[pulumi.Input[str]]
    gate: Gate
    machine: pulumi.CustomResource | None = None
    claim: Sequence[str] = ()
    packages: Sequence[str] = ()


_STATE = " # state "


def state_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True if a change of a command's inputs changes the state that its script keeps on the node."""
    before, after = (str(inputs.get("create")).partition(_STATE)[2].partition(" ")[0] for inputs in (old, new))
    return before != after


class ScriptError(HardwayError):
    """A script on a node failed. The message is what it printed."""


class Connection:
    """A connection to a node: waits until the node answers, installs the programs of `assets/node`, runs commands.

    Secrets travel by standard input only. The output of a command is neither logged nor passed to a later run.
    """

    def __init__(self, node: str, args: ConnectionArgs, opts: pulumi.ResourceOptions) -> None:
        """Prepare the node.

        Args:
            node: Name of the node.
            args: The connection.
            opts: Options of the command that prepares the node.
        """
        self._node, self._args = node, args
        adopt = f"{shlex.join([f'{PROGRAMS}/machine', 'claim', *args.claim])} && " if args.claim else ""
        prepare = Script(
            create=f"mkdir -p {PROGRAMS} && base64 -d | tar -x -z -C {PROGRAMS} && {adopt}"
            + shlex.join([f"{PROGRAMS}/install-prerequisites", *args.packages]),
            # Secret, so that a preview neither compares nor prints it. The engine compares a single line by characters,
            # which takes seconds for each node (pulumi, pkg/backend/display/object_diff.go).
            stdin=pulumi.Output.secret(args.gate.hold(_programs())),
            delete=f"test ! -e {PROGRAMS}/machine || {PROGRAMS}/machine release" if args.claim else None,
        )
        machine = [args.machine] if args.machine else []
        self.ready = self._command(f"{node}-prepared", prepare, opts, machine, DIAL_ATTEMPTS_UNTIL_BOOTED)

    def run(self, name: str, script: Script, opts: pulumi.ResourceOptions) -> command.remote.Command:
        """Run a script on the node as soon as the node is prepared."""
        return self._command(name, script, opts, [self.ready], DIAL_ATTEMPTS)

    async def execute(self, script: str, *, stdin: pulumi.Input[str] = "") -> str:
        """Run a script on the node now, between two steps of the engine. Only hooks may do that.

        Args:
            script: The script.
            stdin: Its standard input.

        Returns:
            Its standard output.

        Raises:
            ScriptError: The script failed, or the node does not answer.
        """
        login = self._args.login
        values = pulumi.Output.all(login.key, login.host_key, stdin)
        key, host_key, text = await values.future() or ("", "", "")
        known = ssh.Login(address=login.address, key=key, host_key=host_key, user=login.user, port=login.port)
        with tempfile.TemporaryDirectory(prefix="hardway-ssh-") as folder:
            process = await asyncio.create_subprocess_exec(
                *ssh.command(Path(folder), known),
                script,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, errors = await process.communicate(text.encode())
        if process.returncode != 0:
            raise ScriptError(errors.decode(errors="replace").strip() or f"ssh ended with code {process.returncode}")
        return output.decode(errors="replace")

    def push_binaries(
        self, name: str, digests: Mapping[Artifact, str], opts: pulumi.ResourceOptions, *, repair: str = ""
    ) -> command.local.Command:
        """Send binaries and images to the node's store, except those that the store already has.

        Args:
            name: Name of the resource.
            digests: Binary or image to SHA-256.
            opts: Options of the resource.
            repair: A new value sends again, and the node then reads its store instead of trusting it.
        """
        machine = self._args.machine
        options = pulumi.ResourceOptions(depends_on=[self.ready], deleted_with=machine)
        return local.run(
            name,
            create=f"{interpreter()} -m components.push",
            environment={
                "HARDWAY_NODE": self._node,
                "HARDWAY_BINARIES": "\n".join(sorted(to_line(*entry) for entry in digests.items())),
                **({"HARDWAY_MACHINE": machine.id} if machine else {}),
                **({"HARDWAY_REPAIR": repair} if repair else {}),
            },
            stdin=pulumi.Output.json_dumps(vars(self._args.login)),
            opts=pulumi.ResourceOptions.merge(opts, options),
        )

    def _command(
        self,
        name: str,
        script: Script,
        opts: pulumi.ResourceOptions,
        depends_on: Sequence[pulumi.Resource],
        dial_attempts: int,
    ) -> command.remote.Command:
        login, outlives_machine = self._args.login, script.outlives_machine
        options = pulumi.ResourceOptions(
            depends_on=depends_on, deleted_with=None if outlives_machine else self._args.machine
        )
        return command.remote.Command(
            name,
            create=self._marked(ssh.as_root(login.user, script.create), script),
            update=ssh.as_root(login.user, script.update) if script.update else None,
            delete=ssh.as_root(login.user, script.delete) if script.delete else None,
            stdin=script.stdin,
            connection=command.remote.ConnectionArgs(
                host=login.address,
                port=login.port,
                user=login.user,
                private_key=login.key,
                host_key=login.host_key,
                dial_error_limit=dial_attempts,
                per_dial_timeout=DIAL_TIMEOUT,
            ),
            # A new address is a new machine: it is adopted first, and the old machine is then released.
            triggers=[login.address] if self._args.claim and not outlives_machine else None,
            logging=command.remote.Logging.NONE,
            add_previous_output_in_env=False,
            opts=pulumi.ResourceOptions.merge(opts, options),
        )

    def _marked(self, create: str, script: Script) -> pulumi.Input[str]:
        """Return `create` with a shell comment that changes whenever the script must run again.

        That is for a repair, after the command that it follows, and for a new VM, whose disk may be empty.
        """
        marked: pulumi.Input[str] = f"{create} # {script.repair}" if script.repair else create
        if script.state:
            marked = pulumi.Output.concat(marked, _STATE, script.state)
        marks = {" # after ": script.after, " # VM ": self._args.machine}
        parts = [part for sign, resource in marks.items() if resource for part in (sign, resource.id)]
        return pulumi.Output.concat(marked, *parts) if parts else marked


@cache
def _programs() -> str:
    """Return the archive of the programs that every node has, with the files that they source."""
    files = {path.name: path.read_bytes() for path in (ASSETS / "node").iterdir()}
    files[posixpath.basename(PROGRAMS_ENVIRONMENT)] = NODE_ENVIRONMENT.encode()
    return archive(
        {
            name: Packed(content=content, mode=0o755 if content.startswith(b"#!") else 0o644)
            for name, content in files.items()
        }
    )
