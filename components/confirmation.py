"""Changes that must be confirmed: see `assets/node/confirm`. `hardway up` confirms them, a plain `pulumi up` cannot."""

import os
from collections.abc import Set

import pulumi

from host.access.ssh import as_root
from host.engine import confirmation
from host.engine.confirmation import Unconfirmed
from host.engine.rollback import FAILURE_HANDLED_VARIABLE
from host.workspace import Workspace, command_line
from lab.node.paths import PROGRAMS
from lab.spec import ExistingMachine, Node, Spec

_CONFIRM = f"{PROGRAMS}/confirm"
_RETURNED = "has returned to the version before"


def begin(spec: Spec, workspace: Workspace, stack: str) -> None:
    """Record how to confirm the changes of this update. During a plain `pulumi up`, tell the user to do it.

    Args:
        spec: The lab.
        workspace: The checkout.
        stack: Short name of the stack.
    """
    if spec.confirm_within is None or pulumi.runtime.is_dry_run():
        return
    commands = {node.name: _as_root(node, f"{_CONFIRM} accept") for node in spec.nodes}
    confirmation.record(workspace, stack, Unconfirmed(limit=spec.confirm_within, commands=commands))
    if FAILURE_HANDLED_VARIABLE not in os.environ:
        pulumi.warn(
            f"Each node returns to the versions before {spec.confirm_within} s after its last change "
            f"(hardway:confirmWithin), unless you run {command_line('confirm', stack)} in time."
        )


def returned(spec: Spec, workspace: Workspace, stack: str, existing: Set[str]) -> dict[tuple[str, str], list[str]]:
    """Return the services that have returned to the version before, which the state of the stack does not show.

    During an update, nodes that wait for a confirmation get the full time for it again.

    Args:
        spec: The lab.
        workspace: The checkout.
        stack: Short name of the stack.
        existing: Names of the nodes that were up.
    """
    if spec.confirm_within is None and confirmation.recorded(workspace, stack) is None:
        return {}
    # A node that an earlier version set up has no such program.
    script = f"test ! -x {_CONFIRM} || {_CONFIRM} {'report' if pulumi.runtime.is_dry_run() else 'extend'}"
    commands = {node.name: _as_root(node, script) for node in spec.nodes if node.name in existing}
    found = {}
    for name, answer in confirmation.ask(workspace, stack, commands).items():
        if answer.problem:
            pulumi.warn(f"{name} does not tell if it has returned to the versions before: {answer.problem}")
        for service in answer.returned:
            found[name, service] = [_RETURNED]
            pulumi.warn(
                f"{service} on {name} {_RETURNED}, because its change was not confirmed in time. "
                "`hardway up` applies the change again."
            )
    return found


def _as_root(node: Node, script: str) -> str:
    machine = node.machine
    return as_root(machine.user, script) if isinstance(machine, ExistingMachine) else script
