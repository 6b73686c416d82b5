"""A lab of each stack but the default one, in turn: what it shows is held on real VMs, and then it goes."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running_lab import RunningLab, checked_out
from toolchain.cache import default_folder

STACKS = sorted(file.stem.removeprefix("test_") for file in Path(__file__).parent.glob("test_*.py"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option of these tests."""
    parser.addoption(
        "--stacks", default="draw", help="the stacks to bring up: names with commas between, all, or draw (one of them)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of stacks that are not asked for; a test is of the stack that its file is named after."""
    asked = asked_for(config.getoption("--stacks"))
    print(f"stacks: {', '.join(asked)}")
    others = [item for item in items if item.path.stem.removeprefix("test_") not in asked]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)


def asked_for(option: str) -> list[str]:
    """The stacks that an option names. One is drawn by what is checked out, so that each commit has its own."""
    if option == "draw":
        return [random.Random(checked_out()).choice(STACKS)]
    return STACKS if option == "all" else option.split(",")


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """The stack that the test's file is named after, up, with what the file says is laid over its configuration."""
    stack = request.path.stem.removeprefix("test_")
    running = RunningLab.clone(default_folder() / "profiles", stack)
    try:
        smaller = getattr(request.module, "smaller", None)
        if smaller:
            smaller(running)
        change = running.make("up")
        assert change.succeeded, change.output
        yield running
        gone = running.make("destroy")
        assert gone.succeeded, gone.output
    finally:
        running.purge()
