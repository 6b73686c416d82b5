"""Creation times of resources, from the event log that the engine writes with --event-log."""

import json
from collections.abc import Iterable, Mapping

from host.engine.urns import resource_name

DOMAIN = "libvirt:index/domain:Domain"
COMMAND = "command:remote:Command"

Resource = tuple[str, str]
"""A resource's type and name."""


def created(log: Iterable[str]) -> dict[Resource, int]:
    """Return the time when the creation of each resource ended, in seconds since 1970, in that order.

    The engine's timestamps are whole seconds, so durations between them are exact to one second.
    """
    times: dict[Resource, int] = {}
    for line in log:
        event = json.loads(line)
        metadata = event.get("resOutputsEvent", {}).get("metadata", {})
        if metadata.get("op") == "create":
            times[metadata["type"], resource_name(metadata["urn"])] = event["timestamp"]
    return times


def first_domain(times: Mapping[Resource, int]) -> int:
    """Return the time when the first VM was started."""
    return min(time for (kind, _), time in times.items() if kind == DOMAIN)


def healthy(times: Mapping[Resource, int], node: str, service: str) -> int:
    """Return the time when a service of a node was healthy for the first time."""
    return times[COMMAND, f"{node}-{service}"]
