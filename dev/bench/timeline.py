"""When the engine had made what, from the log of events that it writes with --event-log."""

import json
from collections.abc import Iterable, Mapping

DOMAIN = "libvirt:index/domain:Domain"
COMMAND = "command:remote:Command"

Resource = tuple[str, str]
"""A resource's type and name."""


def created(log: Iterable[str]) -> dict[Resource, int]:
    """When each resource was there, in seconds since 1970, in the order in which they were made.

    The engine stamps whole seconds, so what is counted from these times is right to a second either way.
    """
    times: dict[Resource, int] = {}
    for line in log:
        event = json.loads(line)
        metadata = event.get("resOutputsEvent", {}).get("metadata", {})
        if metadata.get("op") == "create":
            times[metadata["type"], metadata["urn"].rpartition("::")[2]] = event["timestamp"]
    return times


def first_domain(times: Mapping[Resource, int]) -> int:
    """When the first VM was started."""
    return min(time for (kind, _), time in times.items() if kind == DOMAIN)


def healthy(times: Mapping[Resource, int], node: str, service: str) -> int:
    """When a service of a node was found to be healthy for the first time."""
    return times[COMMAND, f"{node}-{service}"]
