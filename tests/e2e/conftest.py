"""The one lab of real VMs that all e2e tests share; each test leaves it as it found it."""

import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running_lab import Change, RunningLab, checked_out
from toolchain.cache import default_folder


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options of these tests."""
    parser.addoption("--lab", type=Path, help="a checkout whose lab is up, to test instead of a fresh clone")
    parser.addoption("--rounds", type=int, default=1, help="how many faults, interruptions and changes to draw")
    parser.addoption("--seed", default=None, help="what to draw them from (default: what is checked out)")


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marker, and takes the commit for a seed, so that each draws its own."""
    config.addinivalue_line("markers", "drawn: of whose cases as many are run as --rounds says")
    if config.getoption("--seed") is None:
        config.option.seed = checked_out()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Draws cases of the tests that are marked so."""
    rounds, seed = config.getoption("--rounds"), config.getoption("--seed")
    cases = defaultdict(list)
    for item in items:
        if item.get_closest_marker("drawn"):
            cases[item.nodeid.partition("[")[0]].append(item)
    left_out = set()
    for name, all_cases in cases.items():
        drawn = random.Random(f"{seed} {name}").sample(all_cases, min(rounds, len(all_cases)))
        left_out |= set(all_cases) - set(drawn)
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=list(left_out))


@pytest.fixture(scope="session")
def clone(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A fresh clone, with nothing made yet."""
    if folder := request.config.getoption("--lab"):
        yield RunningLab(folder)
        return
    lab = RunningLab.clone(default_folder() / "e2e")
    yield lab
    lab.purge()


@pytest.fixture(scope="session")
def first_up(clone: RunningLab) -> Change:
    """What the first `make up` of the clone said. Everything else is pointless without it."""
    change = clone.make("up")
    if not change.succeeded:
        pytest.exit(f"make up failed:\n{change.output}", returncode=1)
    return change


@pytest.fixture(scope="session")
def lab(clone: RunningLab, first_up: Change) -> RunningLab:
    """The lab, up and settled: its own pods run."""
    assert first_up.succeeded
    clone.kubectl("--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=900s")
    return clone
