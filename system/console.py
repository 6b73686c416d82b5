"""What commands print while they work: a line when a step starts, and one with the seconds it took."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

_START = time.monotonic()


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Print the title of a step, and how many seconds it took once it has succeeded."""
    print(f"==> {title}", flush=True)
    started = time.monotonic()
    yield
    print(f"    done in {time.monotonic() - started:.1f} s", flush=True)


def say(text: str) -> None:
    """Print one line with the seconds since the start, on standard error: standard output is for results."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", file=sys.stderr, flush=True)
