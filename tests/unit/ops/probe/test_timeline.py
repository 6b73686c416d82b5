"""Runs, gaps and spans of a target's answers."""

from collections.abc import Sequence

import pytest

from ops.probe.timeline import Outcome, Span, Timeline, count, longest_gap, seconds_in, spans

LETTERS = {"o": Outcome.OK, "x": Outcome.FAILED, "?": Outcome.UNKNOWN}


def timeline(letters: str) -> Timeline:
    """Return the timeline of requests that are made once a second, with a letter for each outcome."""
    result = Timeline()
    for at, letter in enumerate(letters):
        result.finish(result.begin(at + 0.5), LETTERS[letter], at + 0.6, f"reason {at}" if letter != "o" else "")
    return result


@pytest.mark.parametrize(
    ("letters", "gap"),
    [
        ("oooo", 0),
        ("ooxoo", 2),
        ("oxxoxxxoo", 4),
        ("xxoo", 2.5),
        ("ooxx", 2.5),
        ("xxx", 3),
        ("oox?xoo", 2),
        ("o??o", 0),
        ("", 0),
    ],
)
def test_gap_is_from_the_last_success_to_the_next(letters: str, gap: float) -> None:
    assert longest_gap(timeline(letters).runs, len(letters)) == gap


def test_equal_outcomes_are_one_run_with_the_first_reason() -> None:
    runs = timeline("ooxxo").runs
    assert [(run.outcome, run.first, run.last, run.count, run.error) for run in runs] == [
        (Outcome.OK, 0.5, 1.5, 2, ""),
        (Outcome.FAILED, 2.5, 3.5, 2, "reason 2"),
        (Outcome.OK, 4.5, 4.5, 1, ""),
    ]
    assert count(runs, Outcome.OK) == 3


def test_late_failure_belongs_to_the_time_of_its_request() -> None:
    line = Timeline()
    line.finish(line.begin(0), Outcome.OK, 0.1)
    silent, other = line.begin(1), line.begin(2)
    line.finish(other, Outcome.OK, 2.1)
    assert count(line.runs, Outcome.OK) == 1
    line.finish(silent, Outcome.FAILED, 6)
    assert [(run.outcome, run.first) for run in line.runs] == [
        (Outcome.OK, 0),
        (Outcome.FAILED, 1),
        (Outcome.OK, 2),
    ]
    assert longest_gap(line.runs, 10) == 2


def test_slowest_answer_is_a_successful_one() -> None:
    line = Timeline()
    line.finish(line.begin(0), Outcome.OK, 0.25)
    line.finish(line.begin(1), Outcome.FAILED, 6)
    assert line.slowest == 0.25


@pytest.mark.parametrize(
    ("letters", "expected"),
    [
        ("", []),
        ("oo", [("ok", 0, 2)]),
        ("ooxo?", [("ok", 0, 2.5), ("failed", 2.5, 3.5), ("ok", 3.5, 4.5), ("unknown", 4.5, 5)]),
    ],
)
def test_spans_cover_the_whole_time(letters: str, expected: Sequence[tuple[str, float, float]]) -> None:
    found = spans(timeline(letters).runs, len(letters))
    assert found == [Span(*each) for each in expected]
    assert sum(seconds_in(state, found) for state in Outcome) == len(letters)
