"""Figures, the goals that some of them have, and how they are shown."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """name: what was measured. unit: "s", "MiB", "bytes" or "" for a ratio. goal: what it should not exceed.

    samples: what the value is the median of, in the order they were taken.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    samples: Sequence[float] = field(default=())

    @property
    def holds(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        return None if self.goal is None else self.value <= self.goal


def median_of(name: str, samples: Sequence[float], unit: str = "s") -> Figure:
    """The figure of something that was measured several times."""
    return Figure(name=name, value=statistics.median(samples), unit=unit, samples=tuple(samples))


def ratio(name: str, value: float, reference: float, goal: float | None = None) -> Figure:
    """How many times `reference` the value is."""
    return Figure(name=name, value=value / reference, unit="", goal=goal)


def table(figures: Sequence[Figure]) -> str:
    """The figures for people: a line each."""
    width = max(len(figure.name) for figure in figures)
    return "\n".join(f"{figure.name:<{width}}  {_shown(figure):>18}  {_remark(figure)}".rstrip() for figure in figures)


def document(figures: Sequence[Figure], failures: Sequence[str] = (), **about: Mapping[str, str]) -> dict[str, Any]:
    """The figures for programs, values in full. failures: what was not measured, and why. about: of the run."""
    return about | {
        "figures": [
            {"name": figure.name, "value": figure.value, "unit": figure.unit}
            | ({"goal": figure.goal, "holds": figure.holds} if figure.goal is not None else {})
            | ({"samples": list(figure.samples)} if figure.samples else {})
            for figure in figures
        ],
        "notMeasured": list(failures),
    }


def _shown(figure: Figure) -> str:
    match figure.unit:
        case "bytes":
            return f"{figure.value:,.0f} bytes"
        case "MiB":
            return f"{figure.value:,.0f} MiB"
        case "":
            return f"{figure.value:.2f}"
        case unit:
            return f"{figure.value:.1f} {unit}"


def _remark(figure: Figure) -> str:
    if figure.goal is not None:
        return f"goal <= {figure.goal:g}: {'holds' if figure.holds else 'MISSED'}"
    if figure.samples:
        return f"{min(figure.samples):.1f} to {max(figure.samples):.1f}, median of {len(figure.samples)}"
    return ""
