"""The results of the checks, one row each, and the report of them: as a table, as JSON and as an exit code."""

import json
from dataclasses import dataclass
from enum import StrEnum

from ops.junit import Case
from system.tables import plain_table


class Result(StrEnum):
    """The result of a check. A check is skipped if another failure prevents it, or its feature is switched off."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A check and its result.

    Attributes:
        check: Name of the check.
        source: Place where it starts. Empty if it has none.
        target: Place that it reaches. Empty if it has none.
        result: Result.
        seconds: Duration. None if nothing was measured.
        reason: Reason for a result other than ok.
    """

    check: str
    source: str = ""
    target: str = ""
    result: Result = Result.OK
    seconds: float | None = None
    reason: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The cells of the row in the table."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        return (self.check, self.source, self.target, self.result, seconds, self.reason)


HEADINGS = ("CHECK", "FROM", "TO", "RESULT", "SECONDS", "")


@dataclass(frozen=True)
class SmokeReport:
    """The results of all checks.

    Attributes:
        rows: The results.
        retries: Calls of kubectl that were repeated because a connection failed. They fail no check.
    """

    rows: tuple[Row, ...]
    retries: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if no check failed, else 1."""
        return 1 if any(row.result is Result.FAILED for row in self.rows) else 0

    def text(self, *, quiet: bool = False) -> str:
        """Return a table, the repeated calls and the count.

        Args:
            quiet: Only the rows of failed checks, without headings and count.
        """
        if quiet:
            return plain_table((), [row.columns for row in self.rows if row.result is Result.FAILED])
        table = plain_table(HEADINGS, [row.columns for row in self.rows])
        counts = (f"{sum(row.result is result for row in self.rows)} {result}" for result in Result)
        retries = "".join(f"tried again: {each}\n" for each in self.retries)
        return f"{table}\n{retries}{len(self.rows)} checks: {', '.join(counts)}"

    def test_cases(self) -> list[Case]:
        """Return the checks as the tests of a CI system."""
        return [
            Case(
                group=row.check,
                name=" to ".join(filter(None, (row.source, row.target))) or row.check,
                seconds=row.seconds,
                failure=(row.reason or "failed") if row.result is Result.FAILED else "",
                skipped=row.reason if row.result is Result.SKIPPED else None,
            )
            for row in self.rows
        ]

    def json(self) -> str:
        """Return the report as a JSON document; see the package for its shape."""
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
        return json.dumps({"rows": rows, "retries": list(self.retries)}, indent=2)
