"""Options of all tests: tests with many cases run a random sample of them, drawn by a seed."""

import math
import random
import signal
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.running_lab import checked_out
from tests.support.selection import deselect


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of all tests."""
    parser.addoption("--rounds", type=int, default=1, help="the number of faults, interruptions and changes to draw")
    parser.addoption(
        "--minutes",
        type=float,
        default=math.inf,
        help="the minutes in which what is drawn must end (default: any)",
    )
    parser.addoption("--lab", type=Path, help="test this checkout, whose lab is up, not a fresh clone")
    parser.addoption("--seed", default=None, help="the seed of all draws (default: the commit)")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker `drawn`. The default seed is the commit, so that each commit draws other cases."""
    # A shell without job control starts background jobs with SIGINT ignored, and their children inherit that. A test
    # that interrupts a program would then never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "drawn(number=1, among=''): run a sample of number times --rounds cases")
    if config.getoption("--seed") is None:
        config.option.seed = checked_out()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draw cases of the tests with the marker: of one function, or of all functions with the same `among`."""
    rounds, seed = config.getoption("--rounds"), config.getoption("--seed")
    cases = defaultdict(list)
    for item in items:
        if marker := item.get_closest_marker("drawn"):
            name = marker.kwargs.get("among") or item.nodeid.partition("[")[0]
            cases[name, marker.kwargs.get("number", 1)].append(item)
    excluded: set[pytest.Item] = set()
    for (name, number), all_cases in cases.items():
        drawn = random.Random(f"{seed} {name}").sample(all_cases, min(rounds * number, len(all_cases)))
        excluded |= set(all_cases) - set(drawn)
    deselect(config, items, list(excluded))
