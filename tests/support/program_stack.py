"""The default stack, with and without changes."""

from collections.abc import Callable
from typing import Any

from lab.spec import Spec
from tests.support.changes import Values, default_configuration, spec_of

NEW_WORKER = {"name": "node-2", "address": "10.240.0.22", "podCidr": "10.200.2.0/24"}

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
