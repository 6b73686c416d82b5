"""The report of a measurement: as a JSON document, and as text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ops.probe.measurement import Measured
from ops.probe.nodes import Readiness
from ops.probe.pods import PodChange
from ops.probe.services import ServiceStart
from ops.probe.timeline import Outcome, Run, Span, Timeline, count, longest_gap, seconds_in, spans
from system.tables import plain_table

DIGITS = 3
"""Decimals of a time in seconds."""

Document = Mapping[str, Any]
"""The JSON document; see the package for its shape."""


def document(
    stack: str, measured: Measured, started: Sequence[ServiceStart], notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the JSON document.

    Args:
        stack: Name of the stack.
        measured: The measurement.
        started: Services that started during the measurement.
        notes: Further parts that were not measured.
    """
    end = measured.seconds
    return {
        "stack": stack,
        "start": datetime.fromtimestamp(measured.start, UTC).isoformat(timespec="milliseconds"),
        "seconds": _rounded(end),
        "targets": [_target(name, source, timeline, end) for name, source, timeline in measured.targets],
        "nodes": [_node(name, found) for name, found in measured.nodes.spans(end).items()],
        "pods": None if measured.pods is None else [_pod(change, measured.start) for change in measured.pods],
        "services": [{**asdict(each), "at": _rounded(each.at)} for each in started],
        "notes": [*measured.notes, *notes],
    }


def problems(report: Document, max_failures: int | None, max_gap: float | None) -> list[str]:
    """Return a sentence about each target that was less available than allowed.

    Args:
        report: The document.
        max_failures: Failed requests that a target may have. None for any number.
        max_gap: Seconds without a successful request that a target may have. None for any number.
    """
    found = []
    for target in report["targets"]:
        name, failures, gap = f"{target['target']} from {target['from']}", target["failures"], target["longestGap"]
        if max_failures is not None and failures > max_failures:
            found.append(f"{name} had {failures} failures; allowed are {max_failures}")
        if max_gap is not None and gap > max_gap:
            found.append(f"{name} had a gap of {gap:.1f} s; allowed are {max_gap:g} s")
    return found


def text(report: Document, *, quiet: bool = False) -> str:
    """Return tables of targets, nodes, pods and services.

    Args:
        report: The document.
        quiet: Only rows with a failure, a time that is not ready or unknown, or a restart.
    """
    blocks = [f"Stack {report['stack']}, {report['seconds']:.1f} s from {report['start']}"] if not quiet else []
    blocks += [plain_table(headings, rows) for headings, rows in _tables(report, quiet) if rows]
    blocks += [f"Not measured: {note}" for note in report["notes"]]
    return "\n\n".join(blocks)


def _tables(report: Document, quiet: bool) -> Iterator[tuple[Sequence[str], list[Sequence[str]]]]:
    headings: Sequence[str] = ("TARGET", "FROM", "REQUESTS", "FAILED", "LONGEST GAP", "UNKNOWN", "SLOWEST", "")
    yield (
        headings,
        [
            (
                target["target"],
                target["from"],
                str(target["requests"]),
                str(target["failures"]),
                *(_seconds(target[key]) for key in ("longestGap", "unknown", "slowest")),
                target["error"],
            )
            for target in report["targets"]
            if not quiet or target["failures"] or target["unknown"]
        ],
    )
    yield (
        ("NODE", "NOT READY", "UNKNOWN"),
        [
            (node["node"], _seconds(node["notReady"]), _seconds(node["unknown"]))
            for node in report["nodes"]
            if not quiet or node["notReady"] or node["unknown"]
        ],
    )
    yield (
        ("POD", "NODE", "CHANGE", "AT"),
        [
            (f"{pod['namespace']}/{pod['pod']}", pod["node"], pod["change"], _seconds(pod["at"]))
            for pod in report["pods"] or ()
        ],
    )
    yield (
        ("SERVICE", "NODE", "STARTED AT"),
        [(each["service"], each["node"], _seconds(each["at"])) for each in report["services"]],
    )


def _target(name: str, source: str, timeline: Timeline, end: float) -> dict[str, Any]:
    runs: Sequence[Run] = timeline.runs
    parts = spans(runs, end)
    failures = count(runs, Outcome.FAILED)
    return {
        "target": name,
        "from": source,
        "requests": count(runs, Outcome.OK) + failures,
        "failures": failures,
        "longestGap": _rounded(longest_gap(runs, end)),
        "unknown": _rounded(seconds_in(Outcome.UNKNOWN, parts)),
        "slowest": _rounded(timeline.slowest),
        "error": next((run.error for run in runs if run.outcome is Outcome.FAILED), ""),
        "spans": _spans(parts),
    }


def _node(name: str, parts: Sequence[Span]) -> dict[str, Any]:
    return {
        "node": name,
        "notReady": _rounded(seconds_in(Readiness.NOT_READY, parts)),
        "unknown": _rounded(seconds_in(Readiness.UNKNOWN, parts)),
        "spans": _spans(parts),
    }


def _pod(change: PodChange, start: float) -> dict[str, Any]:
    return {**asdict(change), "at": None if change.at is None else _rounded(change.at - start)}


def _spans(parts: Sequence[Span]) -> list[dict[str, Any]]:
    return [{"state": part.state, "begin": _rounded(part.begin), "end": _rounded(part.end)} for part in parts]


def _rounded(seconds: float) -> float:
    return round(seconds, DIGITS)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"
