"""Debug messages of the Pulumi SDK."""

from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components import debug_log


def test_sdk_debug_messages_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[Any] = []
    monkeypatch.setattr("pulumi.log.get_engine", lambda: SimpleNamespace(Log=messages.append))
    # Restores the SDK's function at the end.
    monkeypatch.setattr("pulumi.log.debug", pulumi.log.debug)
    pulumi.log.debug("register resource outputs prepared: props={'key': 'secret'}")
    assert messages.pop()
    debug_log.silence()
    pulumi.log.debug("register resource outputs prepared: props={'key': 'secret'}")
    pulumi.log.info("kubelet on node-1 will restart")
    assert [request.message for request in messages] == ["kubelet on node-1 will restart"]
