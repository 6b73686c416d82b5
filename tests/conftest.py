"""Of tests with many cases, as many are run as there is time for, drawn by a seed."""

import random
import signal
from collections import defaultdict

import pytest

from tests.support.running_lab import checked_out


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of all tests."""
    parser.addoption("--rounds", type=int, default=1, help="how many faults, interruptions and changes to draw")
    parser.addoption("--seed", default=None, help="what to draw from (default: what is checked out)")


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker, and takes the commit for a seed, so that each draws its own."""
    # A shell without job control has what it runs in the background ignore SIGINT, and so all that is started by that:
    # a test that interrupts a program would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "drawn(number=1, among=''): number times --rounds of a function's cases are run")
    if config.getoption("--seed") is None:
        config.option.seed = checked_out()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draws cases of the tests that are marked so: of each function alone, or of all functions among the same."""
    rounds, seed = config.getoption("--rounds"), config.getoption("--seed")
    cases = defaultdict(list)
    for item in items:
        if marker := item.get_closest_marker("drawn"):
            name = marker.kwargs.get("among") or item.nodeid.partition("[")[0]
            cases[name, marker.kwargs.get("number", 1)].append(item)
    left_out = set()
    for (name, number), all_cases in cases.items():
        drawn = random.Random(f"{seed} {name}").sample(all_cases, min(rounds * number, len(all_cases)))
        left_out |= set(all_cases) - set(drawn)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))
