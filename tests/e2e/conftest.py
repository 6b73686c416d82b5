"""The lab of real VMs that all end-to-end tests share. Each test leaves it as it found it."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_lab import Outcome, RunningLab
from tests.support.selection import file_name, keep_files, named
from toolchain.cache import default_folder

STAGES = (
    "lab",
    "commands",
    "restarts",
    "rollback",
    "whole_change",
    "confirmation",
    "day_two",
    "interruptions",
    "drift",
    "clock",
    "suspend",
    "fork",
    "secrets",
    "files",
    "properties",
    "sequences",
    "registries",
    "smoke",
    "network",
    "documentation",
    "extensions",
    "encryption",
    "rotation",
    "etcd",
    "policies",
    "benchmark",
    "recovery",
    "emulation",
    "destroy",
)
"""The order of the test files. Each stage leaves the lab as it found it. Only the last two upgrade and destroy it."""

ALWAYS_RUN = {"lab": 5.0, "restarts": 30.0, "destroy": 0.0}
"""The stages that run for every commit, and the minutes that must be left for a test of each."""

NUMBER_DRAWN = 5
"""The number of other stages that a commit draws, so that a run ends in time on a slow machine."""

DRAWN_MINUTES = 40.0
"""The minutes that must be left for a test of a drawn stage, most of them for the lab of another stack afterwards."""

_BEGAN = pytest.StashKey[float]()


def pytest_configure(config: pytest.Config) -> None:
    """Note when the run began."""
    config.stash[_BEGAN] = time.monotonic()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test if too little time is left for it."""
    left = item.config.getoption("--minutes") - (time.monotonic() - item.config.stash[_BEGAN]) / 60
    if left < ALWAYS_RUN.get(file_name(item), DRAWN_MINUTES):
        pytest.skip(f"{max(left, 0):.0f} minutes are left, too few for this stage")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests of this folder by stage, and deselect those of stages that `--stages` does not select."""
    here = Path(__file__).parent
    # Before the selection, so that a file that STAGES does not list fails every run.
    items.sort(key=lambda item: STAGES.index(file_name(item)) if item.path.parent == here else -1)
    stages = chosen(config.getoption("--stages"), config.getoption("--seed"))
    print(f"stages: {', '.join(stages)}")
    keep_files(config, items, here, stages)


def chosen(option: str, seed: str) -> list[str]:
    """Return the stages that an option names, in their order. `draw` adds some to `ALWAYS_RUN` by the seed."""
    if option == "all":
        return list(STAGES)
    if option == "draw":
        others = [name for name in STAGES if name not in ALWAYS_RUN]
        drawn = random.Random(f"{seed} stages").sample(others, NUMBER_DRAWN)
        return [name for name in STAGES if name in (*ALWAYS_RUN, *drawn)]
    return named("--stages", option, STAGES)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of these tests."""
    parser.addoption(
        "--stages", default="all", help="the stages to run: names separated by commas, all, or draw (some of them)"
    )


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
