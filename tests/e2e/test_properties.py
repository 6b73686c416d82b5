"""Random changes on real nodes restart the services that the spec predicts and the preview announces.

`--seed` and `--rounds` set which changes are drawn. The unit tests compare hundreds of them with the rendered nodes.
"""

import random
from collections.abc import Iterator

import pytest

from tests.support.changes import ON_A_RUNNING_LAB, draw, predict, spec_of
from tests.support.cluster import announced_restarts
from tests.support.running_lab import Outcome, RunningLab


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: RunningLab) -> Iterator[None]:
    """Restore the configuration and the lab in the end."""
    with lab.configured():
        yield
    assert lab.up().succeeded


def test_random_changes_restart_as_predicted(lab: RunningLab, request: pytest.FixtureRequest) -> None:
    rng = random.Random(request.config.getoption("--seed"))
    outcomes: list[Outcome] = []
    for _ in range(request.config.getoption("--rounds")):
        before = lab.configuration
        after, description = draw(before, rng, ON_A_RUNNING_LAB)
        print(description)
        expected = predict(spec_of(before), spec_of(after))
        lab.configure_all(after)
        assert announced_restarts(lab.preview()) == expected, description
        assert lab.restarts(lambda: outcomes.append(lab.up())) == expected, description
        assert outcomes[-1].succeeded, outcomes[-1].output
        assert lab.planned() == {}, description
