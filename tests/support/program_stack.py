"""The default stack, with and without changes."""

from collections.abc import Callable, Mapping
from typing import Any

from lab.spec import Spec
from tests.support.changes import Values, default_configuration, spec_of

NEW_WORKER = {"name": "node-2", "address": "10.240.0.22", "podCidr": "10.200.2.0/24"}

HOSTS = {name: {"uri": f"qemu+ssh://root@{name}.example/system"} for name in ("a", "b", "c")}
"""Three hosts for `hosts` of a configuration."""

MAX_RESOURCES_OF_A_WORKER = 22
MAX_CONNECTIONS_OF_A_WORKER = 8

Change = Callable[[Values], object]
"""Edits a configuration in place."""


def changed(*changes: Change) -> Spec:
    """Return the default stack's spec with changes."""
    values = default_configuration()
    for change in changes:
        change(values)
    return spec_of(values)


def setting(key: str, value: Any, node: int | None = None) -> Change:
    """Return a change of one key, of the whole lab or of one worker."""

    def change(values: Values) -> None:
        (values if node is None else values["workers"][node])[key] = value

    return change


def on_hosts(places: Mapping[str, str]) -> Change:
    """Return a change that adds HOSTS, and sets the host of nodes by their names."""

    def change(values: Values) -> None:
        values |= {"hosts": HOSTS, "network": "shared"}
        for node in [*values["controlPlanes"], *values["workers"]]:
            if node["name"] in places:
                node["host"] = places[node["name"]]

    return change
