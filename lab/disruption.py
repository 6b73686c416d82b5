"""The levels of disruption: how much a change disturbs a node and its pods."""

from enum import Enum
from functools import total_ordering


@total_ordering
class Disruption(Enum):
    """The level of a change, in ascending order."""

    NONE = "none"
    RELOAD = "reload"
    RESTART = "restart"
    DRAIN = "drain"
    REBOOT = "reboot"
    RECREATE = "recreate"

    def __lt__(self, other: "Disruption") -> bool:
        """Return True if a change of this level disturbs less."""
        levels = list(Disruption)
        return levels.index(self) < levels.index(other)

    def __str__(self) -> str:
        """Return the word for the level."""
        return self.value


LEVELS = tuple(map(str, Disruption))
"""The words for all levels, in ascending order."""
