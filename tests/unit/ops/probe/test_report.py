"""The report as a document, as text and as a picture."""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import pytest

from ops.probe.measurement import Measured
from ops.probe.nodes import NodeHistory, Readiness, ReadyCondition
from ops.probe.picture import COLOURS, picture
from ops.probe.pods import PodChange
from ops.probe.report import document, problems, text
from ops.probe.services import ServiceStart
from ops.probe.timeline import Outcome, Timeline

START = 1767323045.678
FAILED, UNKNOWN = COLOURS[Outcome.FAILED], COLOURS[Outcome.UNKNOWN]
SVG = "{http://www.w3.org/2000/svg}"


def timeline(*outcomes: Outcome) -> Timeline:
    """Return the timeline of requests that are made every ten seconds."""
    line = Timeline()
    for index, outcome in enumerate(outcomes):
        error = "Connection refused" if outcome is Outcome.FAILED else ""
        line.finish(line.begin(10.0 * index), outcome, 10.0 * index + 0.25, error)
    return line


def report(*, is_well: bool = False) -> dict[str, Any]:
    """Return the document of a measurement of 30 s."""
    ok, failed, unknown = Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN
    nodes = NodeHistory()
    nodes.answer(0, {"node-0": ReadyCondition(Readiness.READY, -9)})
    if not is_well:
        nodes.answer(11, {"node-0": ReadyCondition(Readiness.NOT_READY, 10)})
        nodes.silence(20)
    change = PodChange(namespace="default", pod="web-1", node="node-0", change="container web restarted", at=START + 12)
    measured = Measured(
        start=START,
        seconds=30.0,
        targets=[
            ("API read", "this machine", timeline(ok, ok, ok)),
            ("Service", "node-0", timeline(ok, ok, ok) if is_well else timeline(ok, failed, unknown)),
        ],
        nodes=nodes,
        pods=[] if is_well else [change],
        notes=[] if is_well else ["pod on node-0 was left out: no route"],
    )
    services = [ServiceStart(node="node-0", service=name, at=at) for name, at in (("kubelet", 24.1), ("etcd", 23.9))]
    return document("dev", measured, [] if is_well else services, [] if is_well else ["the services of x are unknown"])


def test_document() -> None:
    found = report()
    assert (found["stack"], found["start"], found["seconds"]) == ("dev", "2026-01-02T03:04:05.678+00:00", 30.0)
    assert found["targets"][1] == {
        "target": "Service",
        "from": "node-0",
        "requests": 2,
        "failures": 1,
        "longestGap": 20.0,
        "unknown": 10.0,
        "slowest": 0.25,
        "error": "Connection refused",
        "spans": [
            {"state": "ok", "begin": 0.0, "end": 10.0},
            {"state": "failed", "begin": 10.0, "end": 20.0},
            {"state": "unknown", "begin": 20.0, "end": 30.0},
        ],
    }
    [node] = found["nodes"]
    assert (node["node"], node["notReady"], node["unknown"]) == ("node-0", 10.0, 10.0)
    assert (found["pods"][0]["pod"], found["pods"][0]["at"]) == ("web-1", 12.0)
    assert found["services"][0] == {"node": "node-0", "service": "kubelet", "at": 24.1}
    assert found["notes"] == ["pod on node-0 was left out: no route", "the services of x are unknown"]


def lines(shown: str) -> list[list[str]]:
    """Return the cells of each line."""
    return [re.split("  +", line) for line in shown.splitlines() if line]


def test_text_has_a_table_for_each_part() -> None:
    found = lines(text(report()))
    assert found[0] == ["Stack dev, 30.0 s from 2026-01-02T03:04:05.678+00:00"]
    assert ["API read", "this machine", "3", "0", "0.0 s", "0.0 s", "0.2 s"] in found
    assert ["Service", "node-0", "2", "1", "20.0 s", "10.0 s", "0.2 s", "Connection refused"] in found
    assert ["node-0", "10.0 s", "10.0 s"] in found
    assert ["default/web-1", "node-0", "container web restarted", "12.0 s"] in found
    assert ["kubelet", "node-0", "24.1 s"] in found
    assert found[-1] == ["Not measured: the services of x are unknown"]


def test_text_has_no_empty_table() -> None:
    shown = text(report(is_well=True))
    assert "NODE" in shown
    assert "POD" not in shown
    assert "SERVICE" not in shown


def test_quiet_text_has_only_failures() -> None:
    assert text(report(is_well=True), quiet=True) == ""
    shown = text(report(), quiet=True)
    assert "API read" not in shown
    assert "Service  node-0" in shown


@pytest.mark.parametrize(
    ("failures", "gap", "expected"),
    [
        (None, None, []),
        (1, 20.0, []),
        (0, None, ["Service from node-0 had 1 failures; allowed are 0"]),
        (None, 19.9, ["Service from node-0 had a gap of 20.0 s; allowed are 19.9 s"]),
    ],
)
def test_limits(failures: int | None, gap: float | None, expected: Sequence[str]) -> None:
    assert problems(report(), failures, gap) == expected


def drawn(svg: str, tag: str) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(svg).iter(f"{SVG}{tag}"))


def test_picture_names_everything() -> None:
    svg = picture(report(), "Availability & more")
    texts = [element.text for element in drawn(svg, "text")]
    for expected in (
        "Availability & more",
        "API read from this machine",
        "Service from node-0",
        "node-0 Ready",
        "node-0: kubelet, etcd started",
        "web-1: container web restarted",
        "seconds since the start",
        "30",
    ):
        assert expected in texts


def test_picture_has_the_times() -> None:
    bars = [
        (float(rect.attrib["x"]), float(rect.attrib["width"]), rect.attrib["fill"])
        for rect in drawn(picture(report(), "title"), "rect")[1 + 3 :]
    ]
    # The plot begins at 290 and has 800 pixels for 30 s.
    assert [bar for bar in bars if bar[2] == FAILED] == [(556.7, 266.7, FAILED)] * 2
    assert [bar for bar in bars if bar[2] == UNKNOWN] == [(823.3, 266.7, UNKNOWN)] * 2


def test_short_failure_can_be_seen() -> None:
    line = Timeline()
    for at in range(4000):
        line.finish(line.begin(at), Outcome.FAILED if at == 2000 else Outcome.OK, at)
    measured = Measured(
        start=START, seconds=4e5, targets=[("API", "x", line)], nodes=NodeHistory(), pods=None, notes=[]
    )
    *_, last = drawn(picture(document("dev", measured, []), "title"), "rect")
    assert (last.attrib["fill"], last.attrib["width"]) == (FAILED, "1.5")


@pytest.mark.parametrize(("seconds", "last"), [(0.4, "0"), (9, "9"), (95, "90"), (7300, "7200"), (90000, "86400")])
def test_axis_has_round_numbers(seconds: float, last: str) -> None:
    measured = Measured(start=START, seconds=seconds, targets=[], nodes=NodeHistory(), pods=[], notes=[])
    texts = [element.text or "" for element in drawn(picture(document("dev", measured, []), "title"), "text")]
    ticks = [each for each in texts if each.isdigit()]
    assert ticks[-1] == last
    assert len(ticks) <= 11
