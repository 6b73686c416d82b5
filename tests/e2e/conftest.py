"""The one lab of real VMs that all e2e tests share; each test leaves it as it found it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_lab import Change, RunningLab
from toolchain.cache import default_folder

STAGES = (
    "lab",
    "restarts",
    "rollback",
    "interruptions",
    "drift",
    "secrets",
    "properties",
    "smoke",
    "documentation",
    "destroy",
)
"""The order of the test files. Each stage leaves the lab as it found it; only the last one destroys it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests of this folder by stage."""
    here = Path(__file__).parent

    def stage(item: pytest.Item) -> int:
        return STAGES.index(item.path.stem.removeprefix("test_")) if item.path.parent == here else -1

    items.sort(key=stage)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option of these tests."""
    parser.addoption("--lab", type=Path, help="a checkout whose lab is up, to test instead of a fresh clone")


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
    clone.settle()
    return clone
