"""Random changes on real nodes: what restarts is what the spec says beforehand, and what the preview announces.

They are drawn from `--seed`, `--rounds` of them. tests/unit/test_prediction.py holds hundreds against what is rendered.
"""

import random
from collections.abc import Iterator

import pytest

from tests.changes import ON_A_RUNNING_LAB, draw, predict, spec_of
from tests.e2e.running_lab import Change, RunningLab
from tests.e2e.test_b_restarts import announced


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: RunningLab) -> Iterator[None]:
    """Puts the configuration back when all is drawn, and the lab with it."""
    with lab.configured():
        yield
    assert lab.up().succeeded


def test_random_changes_restart_what_was_predicted_and_announced(
    lab: RunningLab, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(request.config.getoption("--seed"))
    changes: list[Change] = []
    for _ in range(request.config.getoption("--rounds")):
        before = lab.configuration
        after, description = draw(before, rng, ON_A_RUNNING_LAB)
        print(description)
        expected = predict(spec_of(before), spec_of(after))
        lab.configure_all(after)
        assert announced(lab.preview()) == expected, description
        assert lab.restarts(lambda: changes.append(lab.up())) == expected, description
        assert changes[-1].succeeded, changes[-1].output
        assert lab.planned() == {}, description
