"""The answers of a target over time, and the numbers that follow from them. All times are seconds since the start."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """The outcome of a request. It is unknown if the request could not be made, for example without ssh to a node."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass
class Request:
    """A request that was made.

    Attributes:
        at: Time when it was made. Its outcome belongs to this time, however long the answer takes.
        outcome: Outcome. None while there is no answer.
        error: Reason for another outcome than ok.
    """

    at: float
    outcome: Outcome | None = None
    error: str = ""


@dataclass
class Run:
    """Requests one after the other with the same outcome.

    Attributes:
        outcome: Their outcome.
        first: Time of the first one.
        last: Time of the last one.
        count: Number of requests.
        error: Reason of the first one for another outcome than ok.
    """

    outcome: Outcome
    first: float
    last: float
    count: int = 1
    error: str = ""


@dataclass(frozen=True)
class Span:
    """A time with the same state.

    Attributes:
        state: The state.
        begin: Time when it begins.
        end: Time when it ends.
    """

    state: str
    begin: float
    end: float


class Timeline:
    """The requests to a target, in the order in which they were made. It keeps only runs, so it stays small.

    Attributes:
        runs: Runs of requests with the same outcome, without those from the first one on that waits for its answer.
        slowest: Seconds of the slowest answer.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.slowest = 0.0
        self._open: deque[Request] = deque()

    def begin(self, at: float) -> Request:
        """Add a request that is made now."""
        request = Request(at)
        self._open.append(request)
        return request

    def finish(self, request: Request, outcome: Outcome, now: float, error: str = "") -> None:
        """Set the outcome of a request."""
        request.outcome, request.error = outcome, error
        if outcome is Outcome.OK:
            self.slowest = max(self.slowest, now - request.at)
        while self._open and self._open[0].outcome is not None:
            self._append(self._open.popleft())

    def _append(self, request: Request) -> None:
        assert request.outcome is not None
        run = self.runs[-1] if self.runs else None
        if run is not None and run.outcome is request.outcome:
            run.last, run.count = request.at, run.count + 1
        else:
            self.runs.append(Run(request.outcome, request.at, request.at, error=request.error))


def count(runs: Sequence[Run], outcome: Outcome) -> int:
    """Return the number of requests with an outcome."""
    return sum(run.count for run in runs if run.outcome is outcome)


def longest_gap(runs: Sequence[Run], end: float) -> float:
    """Return the longest time from the last success before a failure until the first success after it.

    A gap also begins and ends where the measurement does, so a time without measurement is no part of it.

    Args:
        runs: The requests.
        end: Time when the measurement ended.
    """
    gaps = [0.0]
    for index, run in enumerate(runs):
        if run.outcome is Outcome.FAILED:
            before = runs[index - 1] if index else None
            after = runs[index + 1] if index + 1 < len(runs) else None
            began = 0.0 if before is None else before.last if before.outcome is Outcome.OK else run.first
            gaps.append((end if after is None else after.first) - began)
    return max(gaps)


def spans(runs: Sequence[Run], end: float) -> list[Span]:
    """Return the whole time as spans. Each state lasts until the first request with another outcome.

    Args:
        runs: The requests.
        end: Time when the measurement ended.
    """
    begins = [0.0, *(run.first for run in runs[1:])]
    ends = [*begins[1:], end]
    return [
        Span(run.outcome, begin, finish) for run, begin, finish in zip(runs, begins[: len(runs)], ends, strict=False)
    ]


def seconds_in(state: str, all_spans: Sequence[Span]) -> float:
    """Return the seconds that a state lasted."""
    return sum(span.end - span.begin for span in all_spans if span.state == state)
