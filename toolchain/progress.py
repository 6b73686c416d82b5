"""What a person sees while the toolchain works: one line a step, with the seconds since the start."""

import sys
import time

_START = time.monotonic()


def say(text: str) -> None:
    """Prints one line on standard error, which leaves standard output to results."""
    print(f"[{time.monotonic() - _START:6.1f} s] {text}", file=sys.stderr, flush=True)
