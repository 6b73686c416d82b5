"""The states of nodes, from what the API server answered now and then."""

from collections.abc import Mapping
from typing import Any

import pytest

from ops.probe.nodes import NodeHistory, Readiness, ReadyCondition, ready_conditions

START = 1767323045.0
READY, NOT_READY, UNKNOWN = Readiness
END = 10.0


def ready(since: float = -100) -> ReadyCondition:
    return ReadyCondition(READY, since)


def not_ready(since: float) -> ReadyCondition:
    return ReadyCondition(NOT_READY, since)


def history(answers: Mapping[float, ReadyCondition | str | None]) -> list[tuple[Readiness, float, float]]:
    """Return the states of one node until END.

    Args:
        answers: Time to the node's condition, None if the node does not exist, or `silent` without an answer.
    """
    nodes = NodeHistory()
    for now, condition in answers.items():
        if isinstance(condition, str):
            nodes.silence(now)
        else:
            other = {"other": ready()}
            nodes.answer(now, other if condition is None else {"node": condition, **other})
    return [(Readiness(span.state), span.begin, span.end) for span in nodes.spans(END)["node"]]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({0.2: ready(), 1.2: ready()}, [(READY, 0, END)]),
        # The condition knows the time better than the answers.
        (
            {0.2: ready(), 4.2: not_ready(3), 8.2: ready(7)},
            [(READY, 0, 3), (NOT_READY, 3, 7), (READY, 7, END)],
        ),
        # The clocks differ: a change is never before the last answer or after this one.
        ({1: ready(), 2: not_ready(-3), 3: ready(8)}, [(READY, 0, 1), (NOT_READY, 1, 3), (READY, 3, END)]),
        # There and back between two answers.
        ({1: ready(), 4: ready(3)}, [(READY, 0, 1), (NOT_READY, 1, 3), (READY, 3, END)]),
        # Without an answer, nothing is known.
        (
            {1: ready(), 2: "silent", 3: "silent", 5: ready()},
            [(READY, 0, 2), (UNKNOWN, 2, 5), (READY, 5, END)],
        ),
        ({1: ready(), 2: "silent"}, [(READY, 0, 2), (UNKNOWN, 2, END)]),
        # A change during the silence ends the unknown time.
        ({1: ready(), 2: "silent", 5: not_ready(3)}, [(READY, 0, 2), (UNKNOWN, 2, 3), (NOT_READY, 3, END)]),
        # A change before the silence.
        (
            {1: ready(), 3: "silent", 5: not_ready(2)},
            [(READY, 0, 2), (NOT_READY, 2, 3), (UNKNOWN, 3, 5), (NOT_READY, 5, END)],
        ),
        # A node that is deleted, and one that is new.
        ({1: ready(), 4: None}, [(READY, 0, 4), (NOT_READY, 4, END)]),
        ({1: None, 4: not_ready(3), 6: ready(5)}, [(NOT_READY, 4, 5), (READY, 5, END)]),
    ],
)
def test_states(
    answers: Mapping[float, ReadyCondition | str | None], expected: list[tuple[Readiness, float, float]]
) -> None:
    assert history(answers) == expected


def item(**condition: str) -> dict[str, Any]:
    conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", **condition}]
    metadata = {"name": "node-0", "creationTimestamp": "2026-01-02T03:00:00Z"}
    return {"metadata": metadata, "status": {"conditions": conditions if condition else []}}


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (item(status="True", lastTransitionTime="2026-01-02T03:04:09Z"), ReadyCondition(READY, 4)),
        (item(status="Unknown", lastTransitionTime="2026-01-02T03:04:06Z"), ReadyCondition(NOT_READY, 1)),
        (item(), ReadyCondition(NOT_READY, -245)),
    ],
)
def test_condition_of_the_api(node: dict[str, Any], expected: ReadyCondition) -> None:
    assert ready_conditions([node], START) == {"node-0": expected}
