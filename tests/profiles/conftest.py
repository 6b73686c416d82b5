"""A lab of each stack but the default one, in turn: what it shows is held on real VMs, and then it goes."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from system.files import CHECKOUT
from tests.support.running_lab import RunningLab
from toolchain.cache import default_folder

PROFILES = sorted(file.stem.removeprefix("test_") for file in Path(__file__).parent.glob("test_*.py"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option of these tests."""
    parser.addoption(
        "--stacks", default="draw", help="what to bring up: names with commas between, all, or draw (one of the stacks)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of stacks that are not asked for; a test is of the stack that its file is named after."""
    asked = asked_for(config.getoption("--stacks"), config.getoption("--seed"))
    print(f"stacks: {', '.join(asked)}")
    others = [item for item in items if item.path.stem.removeprefix("test_") not in asked]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)


def asked_for(option: str, seed: str) -> list[str]:
    """The stacks that an option names. One is drawn by the seed."""
    if option == "draw":
        stacks = [profile for profile in PROFILES if (CHECKOUT / f"Pulumi.{profile}.yaml").exists()]
        return [random.Random(seed).choice(stacks)]
    return PROFILES if option == "all" else option.split(",")


class EveryLab:
    """What holds of every lab: each file of tests says when in their course, by a class of its own."""

    def test_pods_and_services_work(self, lab: RunningLab) -> None:
        tried = lab.make("smoke")
        assert tried.succeeded, tried.output

    def test_every_node_tells_the_time_of_this_machine(self, lab: RunningLab) -> None:
        assert lab.clock_errors() == {}

    def test_nothing_would_change_and_nothing_differs(self, lab: RunningLab) -> None:
        assert lab.planned() == {}
        assert lab.verify() == []


@contextmanager
def brought_up(stack: str, adjust: Callable[[RunningLab], object]) -> Iterator[RunningLab]:
    """A fresh clone in which a stack is up. `make destroy` takes it down in the end.

    adjust: what is done to the clone before.
    """
    running = RunningLab.clone(default_folder() / "profiles", stack)
    try:
        adjust(running)
        change = running.make("up")
        assert change.succeeded, change.output
        yield running
        gone = running.make("destroy")
        assert gone.succeeded, gone.output
    finally:
        running.purge()


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """The stack that the test's file is named after, as small as that file says."""
    smaller = getattr(request.module, "smaller", lambda _: None)
    with brought_up(request.path.stem.removeprefix("test_"), smaller) as running:
        yield running
