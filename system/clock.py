"""The clock of another machine, compared with that of this one."""

from collections.abc import Sequence

MAX_SKEW = 2.0
"""Seconds by which a node's clock may differ. The real-time clock that a VM follows counts only whole seconds."""


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
