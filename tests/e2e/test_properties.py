"""Random changes on real nodes: what restarts is what the spec says beforehand, and what the preview announces.

They are drawn from `--seed`, `--rounds` of them. test_changes.py of tests/unit holds hundreds against what is rendered.
"""

import random
from collections.abc import Iterator

import pytest

from tests.e2e.test_restarts import announced
from tests.support.changes import ON_A_RUNNING_LAB, draw, predict, spec_of
from tests.support.running_lab import Change, RunningLab


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
