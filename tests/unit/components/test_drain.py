"""Changes of a kubelet that drain its node."""

import asyncio
from typing import Any, cast

import pytest

from components.drain import Drain, DrainArgs
from lab.spec import DrainLimits, DrainTimeoutAction

APPLY = "/usr/local/lib/hardway/service apply kubelet"


class FakeConnection:
    """A connection that records what runs on the node."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    async def execute(self, script: str, *, stdin: str) -> None:
        """Record the verb of the script."""
        assert stdin == ""
        self.verbs.append(script.split()[1])


def drained(old: str, new: str, *, is_new_minor_version: bool = False) -> list[str]:
    """Return what runs on the node before and after a change of the command that applies the kubelet."""

    async def run() -> list[str]:
        connection = FakeConnection()
        args = DrainArgs(
            node="node-0",
            connection=cast(Any, connection),
            kubeconfig=None,
            limits=DrainLimits(grace_period=30, timeout=300, timeout_action=DrainTimeoutAction.FAIL),
            is_new_minor_version=is_new_minor_version,
        )
        drain = Drain(args)
        await drain.begin({"create": old}, {"create": new})
        await drain.end()
        return connection.verbs

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("old", "new", "drains"),
    [
        ("", "", False),
        ("", " # state 1", True),
        (" # state 1", "", True),
        (" # state 1", " # state 2", True),
        (" # VM a", " # state 1 # VM a", True),
        (" # state 1 # VM a", " # state 1 # VM b", False),
        (" # repair # VM a", " # VM a", False),
    ],
)
def test_node_is_drained_before_other_settings_of_its_state(old: str, new: str, drains: bool) -> None:
    assert drained(APPLY + old, APPLY + new) == (["drain", "uncordon"] if drains else [])


def test_node_is_drained_before_another_minor_version() -> None:
    assert drained(APPLY, APPLY, is_new_minor_version=True) == ["drain", "uncordon"]
