"""Prints a credential of an administrator for kubectl, whose kubeconfig names this program as its credential plugin.

See https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins.

Most calls only print the credential of an earlier call, so everything else is imported when it is needed.

Exit code: 0 if a credential is printed, 2 if not.
"""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from host.workspace import Workspace
from ops.command_line import OK, parse, parser, report_error
from system.errors import HardwayError
from system.files import CHECKOUT, write_atomically

if TYPE_CHECKING:
    from ops.clients import Commands


def main(
    arguments: Sequence[str] | None = None,
    commands: "Commands | None" = None,
    checkout: Path = CHECKOUT,
    now: datetime | None = None,
) -> int:
    """Print the credential and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Reads the stack.
        checkout: Folder of `.lab`.
        now: Current time. None for that of this machine.
    """
    options_parser = parser(
        "access",
        "Prints a credential of the lab's administrator for kubectl.",
        "Exit code: 0 the credential is printed, 2 it is not.",
        has_json=False,
    )
    options_parser.add_argument("--super-admin", action="store_true", help="one that needs no RBAC; it is not kept")
    options = parse(options_parser, arguments)
    workspace, now = Workspace(checkout), now or datetime.now(UTC)
    path = workspace.admin_credential(options.stack)
    credential = None if options.super_admin else _kept(path, now)
    if credential is None:
        try:
            credential = _signed(workspace, options.stack, commands, now, is_super_admin=options.super_admin)
        except HardwayError as error:
            return report_error(f"there is no credential for stack {options.stack}: {error}")
        if not options.super_admin:
            write_atomically(path, credential, 0o600)
    print(credential)
    return OK


def _kept(path: Path, now: datetime) -> str | None:
    """Return the credential of an earlier call; None if there is none, or it is time for a new one."""
    try:
        text = path.read_text()
        end = datetime.fromisoformat(json.loads(text)["status"]["expirationTimestamp"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return text if now < end else None


def _signed(
    workspace: Workspace, stack: str, commands: "Commands | None", now: datetime, *, is_super_admin: bool
) -> str:
    from host import environment
    from ops.access.administrator import administrator_of, sign_credential
    from ops.clients import Commands

    if workspace.env.exists():
        # kubectl may run in any shell.
        os.environ.update(environment.evaluate(workspace.env.read_text()))
    deployment = (commands or Commands()).deployment(stack)
    return sign_credential(administrator_of(deployment, is_super_admin=is_super_admin), now)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
