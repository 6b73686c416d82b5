"""Signals that interrupt a program which must clean up behind itself."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let every signal in INTERRUPTIONS raise KeyboardInterrupt, as Ctrl-C does."""
    with handled(signal.default_int_handler):
        yield


@contextlib.contextmanager
def uninterruptible() -> Iterator[None]:
    """Ignore the signals in INTERRUPTIONS, because the cleanup must finish."""
    with handled(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def handled(handler: Callable[[int, Any], Any] | signal.Handlers) -> Iterator[None]:
    """Handle the signals in INTERRUPTIONS by a function of the signal's number and the frame."""
    before = {number: signal.signal(number, handler) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
