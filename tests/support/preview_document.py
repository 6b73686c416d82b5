"""The document of `pulumi preview --json` between two recorded programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.recording import Program, Resource


def preview_document(
    before: Program, after: Program, replaced: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Return the document of a change.

    Args:
        before: The program before the change.
        after: The program after the change.
        replaced: Names of resources that the engine replaces, to the inputs that are the reason.
    """
    replaced = replaced or {}
    old, new = before.by_identity, after.by_identity
    changed = after.changed_since(before)
    steps = []
    for identity in sorted(old.keys() | new.keys()):
        resource = new.get(identity) or old[identity]
        if identity not in old:
            operation = "create"
        elif identity not in new:
            operation = "delete"
        elif resource.custom and resource.name in replaced:
            operation = "replace"
        elif identity in changed:
            operation = "update"
        else:
            continue
        steps.append(
            {
                "op": operation,
                "urn": resource.urn,
                **({"oldState": _state(old[identity])} if identity in old else {}),
                **({"newState": _state(new[identity])} if identity in new else {}),
                **({"replaceReasons": list(replaced[resource.name])} if operation == "replace" else {}),
                "detailedDiff": None,
            }
        )
    stack = {"op": "same", "urn": "urn:pulumi:test::hardway::pulumi:pulumi:Stack::hardway-test"}
    return {"steps": [stack, *steps], "changeSummary": {}}


def _state(resource: Resource) -> dict[str, Any]:
    return {"urn": resource.urn, "type": resource.type, "inputs": resource.shown, "parent": resource.parent}
