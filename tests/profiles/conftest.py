"""One lab after the other, of each stack but the default one, on real VMs."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.files import CHECKOUT
from tests.support.profile import brought_up
from tests.support.running_lab import RunningLab
from tests.support.selection import keep_files, named

PROFILES = sorted(file.stem.removeprefix("test_") for file in Path(__file__).parent.glob("test_*.py"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of these tests."""
    parser.addoption(
        "--stacks", default="draw", help="the stacks to bring up: names separated by commas, all, or draw (one of them)"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of stacks that `--stacks` does not select. A test file has the name of its stack."""
    stacks = chosen(config.getoption("--stacks"), config.getoption("--seed"))
    print(f"stacks: {', '.join(stacks)}")
    keep_files(config, items, Path(__file__).parent, stacks)


def chosen(option: str, seed: str) -> list[str]:
    """Return the stacks that an option names. `draw` chooses one by the seed."""
    if option == "draw":
        names = [profile for profile in PROFILES if (CHECKOUT / f"Pulumi.{profile}.yaml").exists()]
        return [random.Random(seed).choice(names)]
    return PROFILES if option == "all" else named("--stacks", option, PROFILES)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """The stack that the test file is named after, reduced by the file's function `smaller`."""
    smaller = getattr(request.module, "smaller", lambda _: None)
    with brought_up(request.path.stem.removeprefix("test_"), smaller) as running:
        yield running
