"""The lab of real VMs that all end-to-end tests share. Each test leaves it as it found it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_lab import Outcome, RunningLab
from toolchain.cache import default_folder

STAGES = (
    "lab",
    "commands",
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
    """Add the option of these tests."""
    parser.addoption("--lab", type=Path, help="test this checkout, whose lab is up, not a fresh clone")


@pytest.fixture(scope="session")
def clone(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A fresh clone whose lab is not up yet."""
    if folder := request.config.getoption("--lab"):
        yield RunningLab(folder)
        return
    lab = RunningLab.clone(default_folder() / "e2e")
    yield lab
    lab.purge()


@pytest.fixture(scope="session")
def first_up(clone: RunningLab) -> Outcome:
    """The outcome of the first `hardway up` of the clone. If it fails, no test can run."""
    outcome = clone.hardway("up")
    if not outcome.succeeded:
        pytest.exit(f"hardway up failed:\n{outcome.output}", returncode=1)
    return outcome


@pytest.fixture(scope="session")
def lab(clone: RunningLab, first_up: Outcome) -> RunningLab:
    """The lab after it is up and its own pods run."""
    assert first_up.succeeded
    clone.wait_until_idle()
    return clone
