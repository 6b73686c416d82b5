"""Changes of a kubelet that drain its node."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from components.connection import ScriptError
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


def drain_of(
    connection: FakeConnection, *, is_new_minor_version: bool = False, api_server: asyncio.Future[str] | None = None
) -> Drain:
    """Return the drain of a node, with the future URN of the command of an API server."""
    command = cast(Any, SimpleNamespace(urn=SimpleNamespace(future=lambda: api_server)))
    args = DrainArgs(
        node="node-0",
        connection=cast(Any, connection),
        kubeconfig=None,
        limits=DrainLimits(grace_period=30, timeout=300, timeout_action=DrainTimeoutAction.FAIL),
        is_new_minor_version=is_new_minor_version,
        api_servers=lambda: [command] if api_server else [],
    )
    return Drain(args)


def drained(old: str, new: str, *, is_new_minor_version: bool = False) -> list[str]:
    """Return what runs on the node before and after a change of the command that applies the kubelet."""

    async def run() -> list[str]:
        connection = FakeConnection()
        drain = drain_of(connection, is_new_minor_version=is_new_minor_version)
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


@pytest.mark.parametrize("is_new_minor_version", [False, True])
def test_only_another_minor_version_waits_for_the_api_servers(is_new_minor_version: bool) -> None:
    async def run() -> None:
        connection, api_server = FakeConnection(), asyncio.get_running_loop().create_future()
        drain = drain_of(connection, is_new_minor_version=is_new_minor_version, api_server=api_server)
        begun = asyncio.ensure_future(drain.begin({"create": APPLY}, {"create": f"{APPLY} # state 1"}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert connection.verbs == ([] if is_new_minor_version else ["drain"])
        api_server.set_result("urn")
        await begun
        assert connection.verbs == ["drain"]

    asyncio.run(run())


def test_failed_api_server_leaves_the_kubelet_as_it_is() -> None:
    async def run() -> None:
        connection, api_server = FakeConnection(), asyncio.get_running_loop().create_future()
        drain = drain_of(connection, is_new_minor_version=True, api_server=api_server)
        api_server.set_exception(RuntimeError("the engine's own message"))
        with pytest.raises(ScriptError, match="an API server does not have the new version"):
            await drain.begin({"create": APPLY}, {"create": APPLY})
        assert connection.verbs == []

    asyncio.run(run())
