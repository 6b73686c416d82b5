"""The figures of the availability during an operation."""

from typing import Any

from dev.bench.operations import availability
from dev.bench.report import table


def target(name: str, requests: int, failures: int, gap: float) -> dict[str, Any]:
    """Return a target of a report."""
    return {"target": name, "from": "this machine", "requests": requests, "failures": failures, "longestGap": gap}


def test_figures_are_of_all_targets_of_a_part() -> None:
    report = {
        "targets": [
            target("API read", 600, 4, 2.5),
            target("API write", 500, 6, 3.5),
            target("Service", 900, 0, 0.0),
            target("Service, port of node-0", 100, 1, 0.5),
            target("pod on node-0", 50, 50, 60.0),
        ],
        "nodes": [{"node": "node-0", "notReady": 7.0}, {"node": "node-1", "notReady": 12.0}],
    }
    assert [" ".join(line.split()) for line in table(availability(report)).splitlines()] == [
        "API: failed requests of 1,100 10 requests",
        "API: longest gap 3.5 s",
        "Service: failed requests of 1,000 1 requests",
        "Service: longest gap 0.5 s",
        "longest time that a node was not Ready 12.0 s",
    ]
