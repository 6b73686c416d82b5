"""The order of the levels of disruption."""

import random

from lab.disruption import LEVELS, Disruption


def test_levels_are_in_ascending_order() -> None:
    shuffled = random.sample(list(Disruption), len(Disruption))
    assert [str(level) for level in sorted(shuffled)] == ["none", "reload", "restart", "drain", "reboot", "recreate"]
    assert list(LEVELS) == [str(level) for level in Disruption]


def test_the_highest_level_is_not_the_last_word() -> None:
    assert max(Disruption.RECREATE, Disruption.RESTART) is Disruption.RECREATE
    assert Disruption.RELOAD <= Disruption.RELOAD < Disruption.RESTART
