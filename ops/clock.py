"""The clock of a node, compared with that of this machine."""

import re
from collections.abc import Sequence

MAX_SKEW = 2.0
"""Seconds by which a node's clock may differ. The real-time clock that a VM follows counts only whole seconds."""

SERVICE = "node-setup"
"""The service that corrects the clock of a VM. An existing machine has its own time service."""


def is_time(text: str) -> bool:
    """Return True for a time in seconds since 1970, as a node prints it."""
    return re.fullmatch(r"[0-9]+\.[0-9]+", text) is not None


def skew(times: Sequence[float], sent_at: float, received_at: float) -> float:
    """Return the smallest skew, in seconds, that explains the times; negative if the node's clock is behind.

    The node's first time cannot be before we asked, and the last one cannot be after the answer arrived. 0 means that
    the clock may be right: how long the connection took is unknown.

    Args:
        times: Times that the node printed, in seconds since 1970; empty if it printed none.
        sent_at: Time of this machine when it asked.
        received_at: Time of this machine when the answer arrived.
    """
    if not times:
        return 0.0
    return max(times[-1] - received_at, 0.0) or min(times[0] - sent_at, 0.0)


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
