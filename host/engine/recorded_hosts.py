"""The libvirt provider of each existing VM, read from the state of the stack.

The state is the only record that every checkout has, and that is there while a host does not answer.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from host.engine.stack import MACHINE
from host.engine.urns import resource_name
from system.commands import attempt, quote
from system.errors import HostError

_TIMEOUT = 120
"""Seconds that the engine may take to read a state from a backend elsewhere."""
_LIBVIRT = "libvirt:"


def provider_names(stack: str) -> dict[str, str]:
    """Return the name of the libvirt provider that has the VM of each node, by the node's name.

    Args:
        stack: Full name of the stack. The engine may be working on it.

    Raises:
        HostError: The engine cannot read the state.
    """
    try:
        answer = attempt(["pulumi", "stack", "export", "--stack", stack], timeout=_TIMEOUT)
    except OSError as error:
        raise _unreadable(stack, f"pulumi cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise _unreadable(stack, f"pulumi had no answer after {_TIMEOUT} s") from None
    if answer.returncode != 0:
        raise _unreadable(stack, quote(answer))
    deployment: Mapping[str, Any] = json.loads(answer.stdout).get("deployment") or {}
    return _provider_names(deployment.get("resources") or [])


def _provider_names(resources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    machines = {each["urn"] for each in resources if each["type"] == MACHINE}
    return {
        resource_name(each["parent"]): resource_name(each["provider"].rpartition("::")[0])
        for each in resources
        # Another resource has already replaced one that is still to be deleted.
        if each["type"].startswith(_LIBVIRT) and each.get("parent") in machines and not each.get("delete")
    }


def _unreadable(stack: str, reason: str) -> HostError:
    return HostError(
        f"The state of stack {stack} does not tell on which hosts its VMs are: {reason}. Nothing was changed. Correct "
        "that, or set host for every node."
    )
