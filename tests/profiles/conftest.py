"""One lab after the other, of each stack but the default one, on real VMs."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.profile import brought_up
from tests.support.running_lab import RunningLab
from tests.support.selection import file_name, keep_files, named

MINUTES = {"bootstrap": 50, "ha": 60, "join": 30, "userdata": 35}
"""The minutes that the tests of each stack that can be drawn take on a very slow machine."""

PROFILES = sorted(file.stem.removeprefix("test_") for file in Path(__file__).parent.glob("test_*.py"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of these tests."""
    parser.addoption(
        "--stacks", default="draw", help="the stacks to bring up: names separated by commas, all, or draw (one of them)"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test of a drawn stack if too little time was left when it was drawn."""
    minutes = item.config.getoption("--minutes")
    if item.config.getoption("--stacks") == "draw" and MINUTES[file_name(item)] > minutes:
        pytest.skip(f"{minutes:.0f} minutes are left, too few for any stack")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of stacks that `--stacks` does not select. A test file has the name of its stack."""
    stacks = chosen(config.getoption("--stacks"), config.getoption("--seed"), config.getoption("--minutes"))
    print(f"stacks: {', '.join(stacks)}")
    keep_files(config, items, Path(__file__).parent, stacks)


def chosen(option: str, seed: str, minutes: float) -> list[str]:
    """Return the stacks that an option names.

    `draw` chooses one by the seed, among those that end in time, or else the fastest one.
    """
    if option == "draw":
        in_time = [stack for stack in MINUTES if MINUTES[stack] <= minutes] or [min(MINUTES, key=MINUTES.__getitem__)]
        return [random.Random(seed).choice(in_time)]
    return PROFILES if option == "all" else named("--stacks", option, PROFILES)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """The stack that the test file is named after, reduced by the file's function `smaller`."""
    stack = request.path.stem.removeprefix("test_")
    if folder := request.config.getoption("--lab"):
        yield RunningLab(folder, stack)
        return
    smaller = getattr(request.module, "smaller", lambda _: None)
    with brought_up(stack, smaller) as running:
        yield running
