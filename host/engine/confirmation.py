"""Confirmation of changes on the nodes, which otherwise return to the versions before: `hardway:confirmWithin`.

The Pulumi program records the commands for it, because it knows how to reach each node. The record stays until every
node has confirmed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from host.workspace import Workspace, command_line
from system import console
from system.commands import attempt, quote
from system.errors import HostError
from system.files import write_atomically

_TIMEOUT = 120.0
"""Seconds in which a node must answer."""
_RETURNED = "returned\t"


@dataclass(frozen=True, kw_only=True)
class Unconfirmed:
    """The changes of an update that must be confirmed.

    Attributes:
        limit: Seconds after its last change in which a node must get the confirmation.
        commands: Shell command that confirms the changes of a node, by the node's name.
    """

    limit: int
    commands: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class NodeAnswer:
    """The answer of a node.

    Attributes:
        returned: Names of the services that have returned to the version before.
        problem: Reason for which the node did not do what it should. Empty if it did.
    """

    returned: tuple[str, ...] = ()
    problem: str = ""


def record(workspace: Workspace, stack: str, changes: Unconfirmed) -> None:
    """Record what must be confirmed, before anything changes."""
    path = workspace.unconfirmed(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(vars(changes), indent=2) + "\n")


def recorded(workspace: Workspace, stack: str) -> Unconfirmed | None:
    """Return what must be confirmed. None if everything is."""
    path = workspace.unconfirmed(stack)
    return Unconfirmed(**json.loads(path.read_text())) if path.exists() else None


def accept(workspace: Workspace, stack: str) -> bool:
    """Confirm the recorded changes on all nodes at the same time.

    Returns:
        False if there are none.

    Raises:
        HostError: A node did not confirm, or had returned before.
    """
    changes = recorded(workspace, stack)
    if changes is None:
        return False
    answers = ask(workspace, stack, changes.commands)
    problems = [
        f"{node} has not confirmed its changes, and returns to the versions before: {answer.problem}."
        for node, answer in answers.items()
        if answer.problem
    ]
    if problems:
        problems.append(f"As long as a node has not returned, {command_line('confirm', stack)} can try again.")
    returned = [f"{', '.join(answer.returned)} on {node}" for node, answer in answers.items() if answer.returned]
    if returned:
        problems.append(
            f"No confirmation came within {changes.limit} s, so these services have returned to the version before: "
            f"{'; '.join(returned)}. Set a longer hardway:confirmWithin if the update took so long. "
            f"{command_line('up', stack)} applies the change again."
        )
    if problems:
        raise HostError(" ".join(problems))
    workspace.unconfirmed(stack).unlink()
    console.note(f"The changes are confirmed on {', '.join(answers)}.")
    return True


def ask(workspace: Workspace, stack: str, commands: Mapping[str, str]) -> dict[str, NodeAnswer]:
    """Run a command of `assets/node/confirm` on each node at the same time.

    Args:
        workspace: The checkout.
        stack: Short name of the stack.
        commands: Shell command by node name.
    """
    ssh = ("ssh", "-F", workspace.access(stack) / "ssh_config", "-o", "BatchMode=yes")

    def on_node(node: str) -> NodeAnswer:
        try:
            result = attempt([*ssh, node, commands[node]], timeout=_TIMEOUT)
        except subprocess.TimeoutExpired:
            return NodeAnswer(problem=f"no answer within {_TIMEOUT:.0f} s")
        if result.returncode != 0:
            return NodeAnswer(problem=quote(result) or f"ssh ended with code {result.returncode}")
        lines = result.stdout.splitlines()
        return NodeAnswer(returned=tuple(line.removeprefix(_RETURNED) for line in lines if line.startswith(_RETURNED)))

    with ThreadPoolExecutor(max_workers=max(1, min(32, len(commands)))) as pool:
        return dict(zip(commands, pool.map(on_node, commands), strict=True))
