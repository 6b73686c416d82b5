"""The programs that read a lab: pulumi, kubectl, ssh and virsh. Other modules of this package call them from here."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from host.access.ssh import Login, known_host
from host.access.ssh import command as ssh_command
from host.engine.stack import LIMIT_CHECKED_VARIABLE, SKIP_VALIDATION
from lab.deprecated_apis import METRICS_PATH, DeprecatedApi, requested_apis
from lab.node.paths import PROGRAMS, TRANSIENT_ERRORS
from lab.outputs import StackOutputs
from lab.upgrade import ApiServerVersion
from system.commands import attempt
from system.errors import HardwayError
from system.files import temporary_file

TIMEOUT = 900
"""Seconds that one program may take: verification reads some hundred MB of binaries, slowly on an emulated node."""

RECEIVE_TIMEOUT = 3600
"""Seconds that a node may take to make a large file and send it."""

KUBECTL_TIMEOUT = 120
"""Seconds that a kubectl command may take. It makes several requests, each with a shorter time-out."""

NOT_FOUND = 127
"""The exit code of a shell that does not find a program."""


class CommandError(HardwayError):
    """A program failed or did not answer. The message is the reason that it printed.

    Attributes:
        exit_code: Exit code of the program. None if it did not run to its end.
    """

    def __init__(self, reason: str, exit_code: int | None = None) -> None:
        super().__init__(reason)
        self.exit_code = exit_code

    @property
    def is_transient(self) -> bool:
        """True if kubectl may succeed when it is repeated, because the API server restarts or is slow."""
        return re.search(TRANSIENT_ERRORS, str(self)) is not None


class OutputsError(HardwayError):
    """The outputs of a stack do not describe a lab. The message names the next step."""


class Commands:
    """Runs pulumi, kubectl, ssh and virsh. Each method raises CommandError if its program fails or does not answer."""

    def outputs(self, stack: str) -> Mapping[str, Any]:
        """Return the outputs of a stack, secrets in plain text."""
        return _json(["pulumi", "stack", "output", "--stack", stack, "--json", "--show-secrets"])

    def deployment(self, stack: str) -> Mapping[str, Any]:
        """Return the deployment of a stack, secrets in plain text. Empty if it has no resources."""
        exported = _json(["pulumi", "stack", "export", "--stack", stack, "--show-secrets"])
        deployment: Mapping[str, Any] = exported.get("deployment") or {}
        return deployment

    def configuration(self, stack: str) -> str:
        """Return the configuration of a stack as JSON, secrets in plain text."""
        return output(["pulumi", "config", "--stack", stack, "--json", "--show-secrets"])

    def preview(self, stack: str, replace: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return the document of `pulumi preview --json` about a stack. The engine hides secrets in it.

        Args:
            stack: Name of the stack.
            replace: URNs of resources that would be replaced although nothing changes them.
        """
        command = ["pulumi", "preview", "--stack", stack, "--json", "--non-interactive", SKIP_VALIDATION]
        command += [word for urn in replace for word in ("--replace", urn)]
        result = _attempt(command, environment={LIMIT_CHECKED_VARIABLE: "1"})
        try:
            document: Mapping[str, Any] = json.loads(result.stdout)
        except ValueError:
            raise _failure("pulumi", result.returncode, result.stderr) from None
        if result.returncode != 0:
            # The document has the errors of the program.
            messages = [
                str(each["message"]).strip().removeprefix("error: ")
                for each in document.get("diagnostics", ())
                if each["severity"] == "error"
            ]
            if messages:
                raise CommandError("\n".join(messages), result.returncode)
            raise _failure("pulumi", result.returncode, result.stderr)
        return document

    def report(self, login: Login) -> str:
        """Return the report of the node's own `verify-node` program."""
        try:
            return self.run(login, [f"{PROGRAMS}/verify-node"])
        except CommandError as error:
            if error.exit_code == NOT_FOUND:
                raise CommandError("it was set up by an older version; run `hardway up` first") from None
            raise

    def run(
        self,
        login: Login,
        command: Sequence[str],
        *,
        stdin: str = "",
        timeout: float = TIMEOUT,
        options: Sequence[str] = (),
    ) -> str:
        """Run a command as root on a node.

        Args:
            login: Address and credentials of the node.
            command: Program and arguments; the shell of the node splits and expands them.
            stdin: Standard input of the command.
            timeout: Seconds that it may take.
            options: Options of ssh that take precedence over the usual ones.

        Returns:
            Its standard output.
        """
        with tempfile.TemporaryDirectory(prefix="hardway-ssh-") as folder:
            ssh, *arguments = ssh_command(Path(folder), login)
            # ssh uses the first value that it gets for an option.
            return output([ssh, *options, *arguments, *command], stdin=stdin, timeout=timeout)

    def receive(self, login: Login, command: Sequence[str], file: IO[bytes]) -> None:
        """Run a command as root on a node, and write its standard output to a file."""
        with tempfile.TemporaryDirectory(prefix="hardway-ssh-") as folder:
            words = [*ssh_command(Path(folder), login), *command]
            try:
                result = subprocess.run(
                    words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, timeout=RECEIVE_TIMEOUT
                )
            except subprocess.TimeoutExpired:
                raise CommandError(f"ssh had no answer after {RECEIVE_TIMEOUT} s") from None
        if result.returncode != 0:
            raise _failure("ssh", result.returncode, result.stderr.decode(errors="replace"))

    def nodes(self, kubeconfig: str | None) -> Mapping[str, Any]:
        """Return the API server's NodeList.

        Args:
            kubeconfig: Text of an administrator's kubeconfig, None if the stack has none.
        """
        with kubeconfig_file(kubeconfig) as file:
            arguments = ["get", "nodes", "--output", "json", "--request-timeout", "30s"]
            return _json(["kubectl", "--kubeconfig", file, *arguments], timeout=KUBECTL_TIMEOUT)

    def api_version(self, kubeconfig: str | None) -> ApiServerVersion:
        """Return the version of the API server.

        Args:
            kubeconfig: Text of an administrator's kubeconfig, None if the stack has none.
        """
        with kubeconfig_file(kubeconfig) as file:
            arguments = ["get", "--raw", "/version", "--request-timeout", "30s"]
            return ApiServerVersion.of(_json(["kubectl", "--kubeconfig", file, *arguments], timeout=KUBECTL_TIMEOUT))

    def deprecated_apis(self, kubeconfig: str | None) -> list[DeprecatedApi]:
        """Return the deprecated APIs that clients requested since the API server started.

        Args:
            kubeconfig: Text of an administrator's kubeconfig, None if the stack has none.
        """
        with kubeconfig_file(kubeconfig) as file:
            arguments = ["get", "--raw", METRICS_PATH, "--request-timeout", "60s"]
            return requested_apis(output(["kubectl", "--kubeconfig", file, *arguments], timeout=KUBECTL_TIMEOUT))

    def vm_state(self, libvirt_uri: str, domain: str) -> str:
        """Return the state of a VM in libvirt's words, such as `running` or `shut off`."""
        command = ["env", "LC_ALL=C", "virsh", "--connect", libvirt_uri, "domstate", domain]
        try:
            return output(command, timeout=30).strip()
        except CommandError as error:
            raise CommandError("virsh is not on PATH" if error.exit_code == NOT_FOUND else str(error)) from None


def read_outputs(commands: Commands, stack: str) -> StackOutputs[str]:
    """Read the outputs of a stack.

    Raises:
        CommandError: The engine cannot read the stack.
        OutputsError: Outputs are missing: the lab was never brought up, or an older version of Hardway did it.
    """
    try:
        return StackOutputs.from_dict(commands.outputs(stack))
    except KeyError as error:
        raise OutputsError(f"the stack has no output {error.args[0]}; bring the lab up first: `hardway up`") from None


def logins(outputs: StackOutputs[str]) -> dict[str, Login]:
    """Return the address and credentials of every node, by the node's name.

    Raises:
        OutputsError: The host key of a node is missing.
    """
    host_keys = dict(line.split(maxsplit=1) for line in outputs.known_hosts.splitlines() if line.strip())
    result = {}
    for name, node in outputs.nodes.items():
        port = node.port or 22
        host = known_host(node.address, port)
        if host not in host_keys:
            raise OutputsError(f"the stack's output knownHosts has no host key of {name}; run `hardway up`")
        result[name] = Login(
            address=node.address,
            key=outputs.machine_keys.get(name, outputs.ssh_key),
            host_key=host_keys[host],
            user=node.user or "root",
            port=port,
        )
    return result


def output(command: Sequence[str], *, stdin: str = "", own_session: bool = False, timeout: float = TIMEOUT) -> str:
    """Run a program to its end and return its standard output.

    Args:
        command: Program and arguments.
        stdin: Standard input of the program.
        own_session: Run it in a separate session, so that Ctrl-C at the terminal does not reach it.
        timeout: Seconds that it may take.

    Raises:
        CommandError: The program is missing, fails or takes too long. The reason is the last line that it printed on
            standard error. Standard output may hold secrets and is never quoted.
    """
    result = _attempt(command, stdin=stdin, own_session=own_session, timeout=timeout)
    if result.returncode != 0:
        raise _failure(command[0], result.returncode, result.stderr)
    return result.stdout


def _attempt(
    command: Sequence[str],
    *,
    stdin: str = "",
    own_session: bool = False,
    timeout: float = TIMEOUT,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    try:
        return attempt(command, stdin=stdin, own_session=own_session, timeout=timeout, environment=environment)
    except FileNotFoundError:
        raise CommandError(f"{command[0]} is not on PATH; run `. ./.lab/env` in this shell") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{command[0]} had no answer after {timeout:g} s") from None


@contextmanager
def kubeconfig_file(kubeconfig: str | None) -> Iterator[str]:
    """Provide the path of a kubeconfig that only this user can read, until the block ends.

    Args:
        kubeconfig: Text of an administrator's kubeconfig, None if the stack has none.

    Raises:
        CommandError: The stack has none.
    """
    if kubeconfig is None:
        raise CommandError("the stack has no administrator's kubeconfig")
    with temporary_file(kubeconfig) as file:
        yield file


def _failure(program: str, exit_code: int, errors: str) -> CommandError:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"{program} ended with exit code {exit_code}"
    return CommandError(reason.removeprefix("error: "), exit_code)


def _json(command: Sequence[str], *, timeout: float = TIMEOUT) -> Mapping[str, Any]:
    text = output(command, timeout=timeout)
    try:
        answer: Mapping[str, Any] = json.loads(text)
    except ValueError:
        raise CommandError(f"{command[0]} printed no JSON document") from None
    return answer
