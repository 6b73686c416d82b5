"""What the SDK logs of a run of the program."""

from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components import debug_log


def test_sdk_debug_messages_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr("pulumi.log.get_engine", lambda: SimpleNamespace(Log=told.append))
    # Put back afterwards.
    monkeypatch.setattr("pulumi.log.debug", pulumi.log.debug)
    pulumi.log.debug("register resource outputs prepared: props={'key': 'secret'}")
    assert told.pop()
    debug_log.silence()
    pulumi.log.debug("register resource outputs prepared: props={'key': 'secret'}")
    pulumi.log.info("kubelet on node-1 will restart")
    assert [request.message for request in told] == ["kubelet on node-1 will restart"]
