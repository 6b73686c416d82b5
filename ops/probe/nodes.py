"""The time during which nodes were Ready, from the conditions that the API server reported now and then."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from ops.probe.timeline import Span


class Readiness(StrEnum):
    """The state of a node. It is unknown while the API server does not answer."""

    READY = "ready"
    NOT_READY = "not ready"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class ReadyCondition:
    """The condition Ready of a node.

    Attributes:
        state: Ready or not. A node whose kubelet is silent is not ready.
        since: Time of the last transition, in seconds since the start.
    """

    state: Readiness
    since: float


def ready_conditions(items: Iterable[Mapping[str, Any]], start: float) -> dict[str, ReadyCondition]:
    """Return the condition Ready of each node, by its name.

    Args:
        items: Nodes of the API.
        start: Start of the measurement in seconds since 1970.
    """
    found = {}
    for item in items:
        conditions = item["status"].get("conditions", ())
        ready: Mapping[str, Any] = next((each for each in conditions if each["type"] == "Ready"), {})
        state = Readiness.READY if ready.get("status") == "True" else Readiness.NOT_READY
        transition = ready.get("lastTransitionTime") or item["metadata"]["creationTimestamp"]
        found[item["metadata"]["name"]] = ReadyCondition(state, datetime.fromisoformat(transition).timestamp() - start)
    return found


class NodeHistory:
    """The states of all nodes over time. All times are seconds since the start."""

    def __init__(self) -> None:
        self._turns: dict[str, list[tuple[float, Readiness]]] = {}
        self._conditions: dict[str, ReadyCondition | None] = {}
        self._answered = 0.0
        self._silent_since: float | None = None

    def silence(self, now: float) -> None:
        """Record that the API server did not answer."""
        if self._silent_since is None:
            self._silent_since = now

    def answer(self, now: float, conditions: Mapping[str, ReadyCondition]) -> None:
        """Record the conditions of all nodes. A node that no longer exists is not ready."""
        for name in {**self._turns, **conditions}:
            condition = conditions.get(name)
            if name not in self._turns:
                state = condition.state if condition else Readiness.NOT_READY
                # A node of the first answer had this state from the start, another one is new.
                self._turns[name] = [(now if self._conditions else 0.0, state)]
            else:
                self._turn(name, now, condition)
        for name in self._turns:
            self._conditions[name] = conditions.get(name)
        self._answered, self._silent_since = now, None

    def spans(self, end: float) -> dict[str, list[Span]]:
        """Return the states of each node until the end of the measurement."""
        found = {}
        for name, turns in self._turns.items():
            known = [*turns, *([(self._silent_since, Readiness.UNKNOWN)] if self._silent_since is not None else [])]
            ends = [*(at for at, _ in known[1:]), end]
            found[name] = [Span(state, at, finish) for (at, state), finish in zip(known, ends, strict=True)]
        return found

    def _turn(self, name: str, now: float, condition: ReadyCondition | None) -> None:
        """Add what happened to a node since the last answer, at the time that the node's condition gives."""
        before = self._conditions[name]
        state = condition.state if condition else Readiness.NOT_READY
        previous = before.state if before else Readiness.NOT_READY
        changed_at = min(max(condition.since, self._answered), now) if condition and before else now
        if self._silent_since is None:
            if condition != before and state is previous:
                # There and back between two answers.
                self._add(name, self._answered, _opposite(state))
            self._add(name, changed_at, state)
        elif condition != before and changed_at <= self._silent_since:
            self._add(name, changed_at, state)
            self._add(name, self._silent_since, Readiness.UNKNOWN)
            self._add(name, now, state)
        else:
            self._add(name, self._silent_since, Readiness.UNKNOWN)
            self._add(name, changed_at if condition != before else now, state)

    def _add(self, name: str, at: float, state: Readiness) -> None:
        if self._turns[name][-1][1] is not state:
            self._turns[name].append((at, state))


def _opposite(state: Readiness) -> Readiness:
    return Readiness.NOT_READY if state is Readiness.READY else Readiness.READY
