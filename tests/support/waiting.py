"""Waiting for conditions."""

from __future__ import annotations

import time
from collections.abc import Callable

_TIMEOUT = 120
"""Seconds after which to give up. It is much longer than anything takes on a busy machine."""


def wait_until(
    condition: Callable[[], bool],
    what: str,
    unless: Callable[[], bool] = lambda: False,
    timeout: float = _TIMEOUT,
) -> None:
    """Wait until a condition holds. Fail when `unless` holds or after the timeout in seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert not unless(), f"this can no longer become true: {what}"
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.02)
