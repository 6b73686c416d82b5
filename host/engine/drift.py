"""What was found to differ on the nodes, and waits for the next `pulumi up` to set it right."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from system.files import CHECKOUT

RECORDS = CHECKOUT / ".lab" / "stacks"


def record_of(stack: str) -> Path:
    """The file that holds a stack's findings: node to service to a token that changes with each new finding."""
    return RECORDS / stack / "repairs.json"


def recorded_repairs(stack: str) -> Mapping[tuple[str, str], str]:
    """Node and service to the token of what was last found there; empty where nothing ever was."""
    record = record_of(stack)
    if not record.exists():
        return {}
    return {
        (node, service): token
        for node, services in json.loads(record.read_text()).items()
        for service, token in services.items()
    }


def record_repairs(stack: str, found: Mapping[tuple[str, str], Sequence[str]], when: datetime) -> None:
    """Gives each node and service where something was found a new token; all others keep theirs.

    found: node and service to what differs there, in words. when: the time of the look, in UTC. A token tells that
    time too: what was set right may come to differ in the same way again.
    """
    if not found:
        return
    tokens = dict(recorded_repairs(stack))
    for pair, words in found.items():
        digest = hashlib.sha256("\n".join(words).encode()).hexdigest()
        tokens[pair] = f"{when:%Y-%m-%dT%H:%M:%SZ}-{digest[:8]}"
    record: dict[str, dict[str, str]] = {}
    for (node, service), token in sorted(tokens.items()):
        record.setdefault(node, {})[service] = token
    path = record_of(stack)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(record, indent=2) + "\n")
    draft.replace(path)
