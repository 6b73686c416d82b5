"""Waiting for what must come true."""

from __future__ import annotations

import time
from collections.abc import Callable

_PATIENCE = 120
"""Seconds after which something that must come true is given up: far more than it takes on a busy machine."""


def wait_until(condition: Callable[[], bool], what: str, unless: Callable[[], bool] = lambda: False) -> None:
    """Waits until the condition holds; fails when it cannot any more (`unless`), or has not for two minutes."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert not unless(), f"it cannot come true any more that {what}"
        assert time.monotonic() < deadline, f"it has not come true that {what}"
        time.sleep(0.02)
