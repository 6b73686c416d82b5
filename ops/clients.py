"""The programs that are asked: pulumi, kubectl, ssh. Nothing else of this package leaves the process."""

import json
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host.access import ssh
from lab.node.paths import PROGRAMS

PATIENCE = 900
"""Seconds that one program may take: on an emulated node it reads some hundred MB of binaries."""

NOT_FOUND = 127
"""The exit code of a shell for a program that is not there."""


class CommandError(Exception):
    """A program could not tell what it was asked. The message is its own reason."""

    def __init__(self, reason: str, exit_code: int | None = None) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


class Commands:
    """Asks pulumi, the API server and the nodes. Each method raises CommandError where there is no answer."""

    def selected_stack(self) -> str:
        """The name of the stack that is selected."""
        return output(["pulumi", "stack", "--show-name"]).strip()

    def outputs(self, stack: str) -> Mapping[str, Any]:
        """The outputs of a stack, its secrets included."""
        answer: Mapping[str, Any] = json.loads(
            output(["pulumi", "stack", "output", "--stack", stack, "--json", "--show-secrets"])
        )
        return answer

    def report(self, login: ssh.Login) -> str:
        """What a node prints about itself."""
        with tempfile.TemporaryDirectory(prefix="hardway-verify-") as folder:
            try:
                return output([*ssh.command(Path(folder), login), f"{PROGRAMS}/verify-node"])
            except CommandError as error:
                if error.exit_code == NOT_FOUND:
                    raise CommandError("it was made by an older program; run pulumi up first") from None
                raise

    def nodes(self, kubeconfig: str | None) -> Mapping[str, Any]:
        """The NodeList of the API server that a kubeconfig leads to."""
        if kubeconfig is None:
            raise CommandError("the stack has no administrator's kubeconfig")
        with tempfile.NamedTemporaryFile("w", prefix="hardway-verify-") as file:
            file.write(kubeconfig)
            file.flush()
            question = ["get", "nodes", "--output", "json", "--request-timeout", "30s"]
            answer: Mapping[str, Any] = json.loads(output(["kubectl", "--kubeconfig", file.name, *question]))
            return answer


def output(command: Sequence[str], *, stdin: str = "", own_session: bool = False) -> str:
    """A command's standard output; its last words on standard error are the reason where it fails.

    own_session: out of reach of what is typed at the terminal.
    """
    try:
        result = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=own_session,
        )
    except FileNotFoundError:
        raise CommandError(f"{command[0]} is not on PATH; have . ./.lab/env in this shell") from None
    except subprocess.TimeoutExpired:
        raise CommandError(f"{command[0]} had no answer after {PATIENCE} s") from None
    if result.returncode != 0:
        words = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        reason = words[-1] if words else f"{command[0]} ended with exit code {result.returncode}"
        raise CommandError(reason.removeprefix("error: "), result.returncode)
    return result.stdout
