"""The report about the clock of a node."""

import re

from system.clock import MAX_SKEW

SERVICE = "node-setup"
"""The service that corrects the clock of a VM. An existing machine has its own time service."""


def is_time(text: str) -> bool:
    """Return True for a time in seconds since 1970, as a node prints it."""
    return re.fullmatch(r"[0-9]+\.[0-9]+", text) is not None


def problem(seconds: float, *, is_corrected: bool) -> str | None:
    """Describe a wrong clock and how to correct it. Return None if it is right.

    Args:
        seconds: The skew.
        is_corrected: True if the lab has a service that corrects the clock of this node.
    """
    if abs(seconds) <= MAX_SKEW:
        return None
    direction = "ahead of" if seconds > 0 else "behind"
    remedy = (
        "`hardway up` corrects it, if the machine that runs the VM has the right time"
        if is_corrected
        else "correct it with the machine's own time service, such as chrony or systemd-timesyncd"
    )
    return f"its clock is {abs(seconds):.0f} s {direction} that of this machine; {remedy}"
