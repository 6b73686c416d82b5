"""What was found to differ on the nodes, and waits for the next `pulumi up` to set it right."""

import json
from collections.abc import Mapping
from pathlib import Path

RECORDS = Path(__file__).parent.parent / ".lab" / "stacks"


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
