"""The one lab of real VMs that all e2e tests share; each test leaves it as it found it."""

from collections.abc import Iterator

import pytest

from tests.e2e.running_lab import Change, RunningLab
from toolchain.cache import default_folder


@pytest.fixture(scope="session")
def clone() -> Iterator[RunningLab]:
    """A fresh clone, with nothing made yet."""
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
    """The lab, up."""
    assert first_up.succeeded
    return clone
