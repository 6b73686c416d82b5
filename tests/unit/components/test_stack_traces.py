"""Stack traces of resources."""

import pytest
from pulumi.runtime import resource

from components import stack_traces


def test_resources_have_no_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    # Restores the SDK's function at the end. The attribute must exist.
    monkeypatch.setattr("pulumi.runtime.resource._get_stack_trace", resource._get_stack_trace)
    stack_traces.omit()
    assert not resource._get_stack_trace().frames
    assert resource._get_source_position(resource._get_stack_trace()) is None
