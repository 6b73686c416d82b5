"""The number of resources that `hardway up` shows its progress with."""

import asyncio
from typing import Any

import pulumi
import pulumi_tls as tls
import pytest
from pulumi_command import local

from components import debug_log
from components.resource_count import ResourceCount
from host.engine.progress import RESOURCES


class _Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, object]]:
        return args.name, dict(args.inputs)

    def call(self, _: pulumi.runtime.MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        return {}, None


def test_resources_that_take_time_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("pulumi.log.debug", lambda message, *_: messages.append(message))

    def program() -> None:
        resources = ResourceCount()
        debug_log.silence()
        parent = pulumi.ComponentResource("a:b:Parent", "parent")
        local.Command("one", opts=pulumi.ResourceOptions(parent=parent))
        local.Command("two", create=pulumi.Output.from_input("late"))
        tls.PrivateKey("key", algorithm="ED25519")
        resources.report()

    # Other tests of this process may have closed theirs.
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(_Mocks())
    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
    assert [message for message in messages if message.startswith(RESOURCES)] == [f"{RESOURCES}2"]
