"""Figures with optional goals, as a table for people and as a document for programs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value.

    Attributes:
        name: The description of the measurement.
        value: The value.
        unit: "s", "MiB", "bytes", "requests", or "" for a ratio.
        goal: The value that it should not exceed.
        samples: The measured values in their order, if `value` is their median.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    samples: Sequence[float] = field(default=())

    @property
    def holds(self) -> bool | None:
        """True if the goal is reached, None without a goal."""
        return None if self.goal is None else self.value <= self.goal


def median_of(name: str, samples: Sequence[float], unit: str = "s") -> Figure:
    """Return the figure of several measurements of the same thing."""
    return Figure(name=name, value=statistics.median(samples), unit=unit, samples=tuple(samples))


def ratio(name: str, value: float, reference: float, goal: float | None = None) -> Figure:
    """Return a figure of the value divided by `reference`."""
    return Figure(name=name, value=value / reference, unit="", goal=goal)


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as text, one per line."""
    width = max(len(figure.name) for figure in figures)
    return "\n".join(f"{figure.name:<{width}}  {_shown(figure):>18}  {_remark(figure)}".rstrip() for figure in figures)


def document(figures: Sequence[Figure], failures: Sequence[str] = (), **about: Mapping[str, str]) -> dict[str, Any]:
    """Return the figures for programs, with all digits.

    Args:
        figures: The figures.
        failures: A message for each measurement that failed.
        about: Facts about the run, by section.
    """
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
        case "bytes" | "requests":
            return f"{figure.value:,.0f} {figure.unit}"
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
