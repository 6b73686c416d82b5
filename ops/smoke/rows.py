"""What was tried and how it went, as a row each, and how that is told: to people, to programs, and by the exit code."""

import json
from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """How a try went. What could not be tried because of another row, or is switched off, is skipped."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One try.

    source, target: from where to where; empty where it has no such end.
    seconds: None where nothing was measured. reason: why it was not ok.
    """

    check: str
    source: str = ""
    target: str = ""
    result: Result = Result.OK
    seconds: float | None = None
    reason: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The row as the table has it."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        return (self.check, self.source, self.target, self.result, seconds, self.reason)


HEADINGS = ("CHECK", "FROM", "TO", "RESULT", "SECONDS", "")


@dataclass(frozen=True)
class Verdict:
    """All that was tried."""

    rows: tuple[Row, ...]

    @property
    def exit_code(self) -> int:
        """0 where nothing failed, else 1."""
        return 1 if any(row.result is Result.FAILED for row in self.rows) else 0

    def text(self) -> str:
        """A table, and the count."""
        lines = [HEADINGS, *(row.columns for row in self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        counts = (f"{sum(row.result is result for row in self.rows)} {result}" for result in Result)
        return "\n".join([*table, f"{len(self.rows)} checks: {', '.join(counts)}"])

    def json(self) -> str:
        """The same as a JSON document."""
        rows = [
            {
                "check": row.check,
                "from": row.source,
                "to": row.target,
                "result": row.result,
                "seconds": row.seconds,
                "reason": row.reason,
            }
            for row in self.rows
        ]
        return json.dumps({"rows": rows}, indent=2)
