"""The report of a measurement as a picture: a line for each target and node, and a mark for each restart."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from ops.probe.nodes import Readiness
from ops.probe.report import Document
from ops.probe.timeline import Outcome

COLOURS = {
    Outcome.OK.value: "#3a9d5d",
    Readiness.READY.value: "#3a9d5d",
    Outcome.UNKNOWN.value: "#b5b9bf",
    Outcome.FAILED.value: "#d1342f",
    Readiness.NOT_READY.value: "#d1342f",
}
"""Colour of each state. A state in a later line covers one in an earlier line."""

LEGEND = (
    (Outcome.OK.value, "answered, Ready"),
    (Outcome.FAILED.value, "failed, not Ready"),
    (Outcome.UNKNOWN.value, "unknown"),
)
TEXT, FAINT, MARK = "#24292f", "#d8dbe0", "#1f4e9e"

LABELS, PLOT, MARGIN = 270, 800, 20
"""Widths in pixels: of the names on the left, of the time, of the border. A label of a mark may need the border."""
TOP, ROW, BAR = 70, 22, 14
"""Heights in pixels: of the title and the legend, of a row, of its bar."""
MIN_WIDTH = 1.5
"""Pixels of a state that is too short to be seen."""
MAX_TICKS = 10
LEFT_OF_MARK = 0.6
"""Part of the time after which the label of a mark is on its left."""

_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


def picture(report: Document, title: str) -> str:
    """Return the picture as an SVG document.

    Args:
        report: The document of `ops.probe.report`.
        title: Title above the picture.
    """
    rows = list(_rows(report))
    height = TOP + ROW * len(rows) + 50
    svg = ElementTree.Element(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {LABELS + PLOT + 2 * MARGIN} {height}"},
    )
    svg.set("font-family", "sans-serif")
    svg.set("font-size", "12")
    ElementTree.SubElement(svg, "title").text = title
    _add(svg, "rect", x=0, y=0, width="100%", height="100%", fill="white")
    _text(svg, MARGIN, 28, title, size=16)
    for index, (state, meaning) in enumerate(LEGEND):
        _add(svg, "rect", x=MARGIN + LABELS + 150 * index, y=42, width=12, height=12, fill=COLOURS[state])
        _text(svg, MARGIN + LABELS + 150 * index + 18, 52, meaning)
    _axis(svg, report["seconds"], TOP, TOP + ROW * len(rows))
    for index, (label, spans, at) in enumerate(rows):
        middle = TOP + ROW * index + ROW / 2
        if at is None:
            _text(svg, MARGIN + LABELS - 10, middle + 4, label, anchor="end")
            _bars(svg, spans, middle - BAR / 2, report["seconds"])
        else:
            _mark(svg, label, at, report["seconds"], middle)
    ElementTree.indent(svg)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _rows(report: Document) -> Iterator[tuple[str, Sequence[Mapping[str, Any]], float | None]]:
    """Yield the label of each row, and either its spans or the time of its mark."""
    for target in report["targets"]:
        yield f"{target['target']} from {target['from']}", target["spans"], None
    for node in report["nodes"]:
        yield f"{node['node']} Ready", node["spans"], None
    together: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for each in report["services"]:
        # Services that start in the same second, as in a boot, share a mark.
        together.setdefault((each["node"], round(each["at"])), []).append(each)
    events = [
        (started[0]["at"], f"{node}: {', '.join(each['service'] for each in started)} started")
        for (node, _), started in together.items()
    ]
    events += [(pod["at"], f"{pod['pod']}: {pod['change']}") for pod in report["pods"] or () if pod["at"] is not None]
    for at, label in sorted(events):
        yield label, (), at


def _axis(svg: ElementTree.Element, seconds: float, top: float, bottom: float) -> None:
    """Draw the axis, with a line at each round number of seconds."""
    step = next((step for step in _STEPS if seconds / step <= MAX_TICKS), _STEPS[-1] * (1 + int(seconds) // 36000))
    for tick in range(0, int(seconds) + 1, step):
        x = _x(tick, seconds)
        _add(svg, "line", x1=x, y1=top, x2=x, y2=bottom, stroke=FAINT)
        _text(svg, x, bottom + 18, str(tick), anchor="middle")
    _text(svg, MARGIN + LABELS + PLOT / 2, bottom + 38, "seconds since the start", anchor="middle")


def _bars(svg: ElementTree.Element, spans: Sequence[Mapping[str, Any]], y: float, seconds: float) -> None:
    """Draw the states of a row. A failure covers the rest, however short it is."""
    order = list(COLOURS)
    for span in sorted(spans, key=lambda span: order.index(span["state"])):
        begin, end = _x(span["begin"], seconds), _x(span["end"], seconds)
        _add(
            svg,
            "rect",
            x=begin,
            y=y,
            width=max(end - begin, MIN_WIDTH),
            height=BAR,
            fill=COLOURS[span["state"]],
        )


def _mark(svg: ElementTree.Element, label: str, at: float, seconds: float, y: float) -> None:
    """Draw a restart: a line through all rows, a diamond, and a label on the side that has more space."""
    x = _x(min(max(at, 0), seconds), seconds)
    _add(svg, "line", x1=x, y1=TOP, x2=x, y2=y, stroke=MARK, **{"stroke-dasharray": "2 3"})
    _add(svg, "path", d=f"M{x:.1f} {y - 5:.1f} l5 5 l-5 5 l-5 -5 z", fill=MARK)
    if at > LEFT_OF_MARK * seconds:
        _text(svg, x - 9, y + 4, label, anchor="end")
    else:
        _text(svg, x + 9, y + 4, label)


def _x(at: float, seconds: float) -> float:
    return MARGIN + LABELS + PLOT * at / max(seconds, 0.001)


def _text(svg: ElementTree.Element, x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> None:
    _add(svg, "text", x=x, y=y, fill=TEXT, **{"text-anchor": anchor, "font-size": str(size)}).text = text


def _add(svg: ElementTree.Element, tag: str, **attributes: float | str) -> ElementTree.Element:
    words = {name: f"{value:.1f}" if isinstance(value, float) else str(value) for name, value in attributes.items()}
    return ElementTree.SubElement(svg, tag, words)
