"""Inputs that wait for a check."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.gate import Gate


def checked(urn: "asyncio.Future[str]") -> pulumi.Resource:
    """Return a resource that is registered when it has its URN."""
    return cast(pulumi.Resource, SimpleNamespace(urn=SimpleNamespace(future=lambda: urn)))


async def held(urn: "asyncio.Future[str]") -> Any:
    """Return the future of an input that waits for a resource."""
    gate = Gate()
    value = gate.hold("pool")
    gate.open_after(checked(urn))
    return asyncio.ensure_future(value.future())


def test_input_is_known_when_the_check_has_passed() -> None:
    async def test() -> None:
        urn: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        value = await held(urn)
        await asyncio.sleep(0)
        assert not value.done()
        urn.set_result("urn")
        assert await value == "pool"

    asyncio.run(test())


def test_input_is_never_known_if_the_check_fails() -> None:
    async def test() -> None:
        urn: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        value = await held(urn)
        urn.set_exception(RuntimeError("out of order"))
        with pytest.raises(RuntimeError, match="out of order"):
            await value

    asyncio.run(test())
