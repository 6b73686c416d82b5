"""Drift of nodes from the stack that `verify` has found, and that the next `pulumi up` repairs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from system.files import CHECKOUT, write_atomically

RECORDS = CHECKOUT / ".lab" / "stacks"
"""Folder of all records. Each stack has a folder in it."""
REGISTRATION = "registration"
"""The name in a record of a node's registration in the cluster, which is no service: role, labels and taints."""
MACHINE_NETWORK = ("", "network")
"""The pair in a record of what the lab adds to the network of this machine: routes, and rules of the packet filter."""
_FILE = "repairs.json"
"""Name of the record. Earlier versions wrote it under the same name."""


def record_path(stack: str) -> Path:
    """Return the file of a stack's drift: node to service to a token that changes with each new finding.

    Args:
        stack: Short name of the stack.
    """
    return RECORDS / stack / _FILE


def recorded_drift(stack: str) -> Mapping[tuple[str, str], str]:
    """Return the tokens of the latest findings by node and service. Empty if nothing was ever found."""
    record = record_path(stack)
    if not record.exists():
        return {}
    return {
        (node, service): token
        for node, services in json.loads(record.read_text()).items()
        for service, token in services.items()
    }


def with_drift(
    recorded: Mapping[tuple[str, str], str], found: Mapping[tuple[str, str], Sequence[str]], when: datetime
) -> dict[tuple[str, str], str]:
    """Return the tokens of a record with new ones for everything that was found: see `record_drift`."""
    tokens = dict(recorded)
    for pair, descriptions in found.items():
        digest = hashlib.sha256("\n".join(descriptions).encode()).hexdigest()
        tokens[pair] = f"{when:%Y-%m-%dT%H:%M:%SZ}-{digest[:8]}"
    return tokens


def record_drift(stack: str, found: Mapping[tuple[str, str], Sequence[str]], when: datetime) -> None:
    """Give a new token to each node and service with a difference. All others keep theirs.

    Args:
        stack: Short name of the stack.
        found: Descriptions of the differences, by node and service.
        when: Time of the check, in UTC. It is part of the token, because the same drift can happen again after a
            repair.
    """
    if not found:
        return
    _write(stack, with_drift(recorded_drift(stack), found, when))


def deployed_drift(deployment: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Return the tokens in the state of a stack: everything that was ever found and repaired, from any checkout.

    Args:
        deployment: The state, as `pulumi stack export` prints it.
    """
    found: dict[tuple[str, str], str] = {}
    for resource in deployment.get("resources") or ():
        variables = (resource.get("inputs") or {}).get("environment") or {}
        repairs = variables.get("HARDWAY_REPAIR", "").split()
        if node := variables.get("HARDWAY_NODE"):
            found |= {(node, service): token for service, _, token in (repair.partition("=") for repair in repairs)}
        elif repairs:
            found[MACHINE_NETWORK] = repairs[0]
    return found


def adopt_drift(stack: str, deployed: Mapping[tuple[str, str], str]) -> None:
    """Add to the record of this checkout what another one has recorded and repaired.

    Args:
        stack: Short name of the stack.
        deployed: The tokens in the state of the stack.
    """
    recorded = recorded_drift(stack)
    # A token begins with its time. A later one of this checkout is still to be repaired.
    tokens = {pair: max(deployed.get(pair, ""), recorded.get(pair, "")) for pair in {*deployed, *recorded}}
    if tokens != recorded:
        _write(stack, tokens)


def _write(stack: str, tokens: Mapping[tuple[str, str], str]) -> None:
    record: dict[str, dict[str, str]] = {}
    for (node, service), token in sorted(tokens.items()):
        record.setdefault(node, {})[service] = token
    path = record_path(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(record, indent=2) + "\n")
