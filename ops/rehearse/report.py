"""The report of a rehearsal: as a JSON document, and as text."""

from dataclasses import dataclass
from typing import Any

from ops.probe import report as probe_report
from ops.probe.report import Document
from ops.rehearse.comparison import Comparison
from system.tables import plain_table

_HEADINGS = ("NODE", "PART", "PREDICTED", "SEEN")


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    """A change that was rehearsed.

    Attributes:
        stack: Name of the stack.
        snapshot: Name of the snapshot.
        fork: Folder of the fork, if it is kept. None if it is deleted.
        exit_code: Exit code of `hardway up`.
        impact: The predicted impact.
        measurement: The measured impact.
        comparison: Their comparison.
    """

    stack: str
    snapshot: str
    fork: str | None
    exit_code: int
    impact: Document
    measurement: Document
    comparison: Comparison

    @property
    def as_predicted(self) -> bool:
        """True if `hardway up` succeeded, and its impact was the predicted one."""
        return self.exit_code == 0 and not self.comparison.differences

    def document(self) -> dict[str, Any]:
        """Return the JSON document; see the package for its shape."""
        return {
            "stack": self.stack,
            "snapshot": self.snapshot,
            "fork": self.fork,
            "exitCode": self.exit_code,
            "asPredicted": self.as_predicted,
            **self.comparison.document(),
            "impact": self.impact,
            "measurement": self.measurement,
        }

    def text(self, *, quiet: bool = False) -> str:
        """Return the parts, the measurement as far as anything was disturbed, and the result.

        Args:
            quiet: Only the differences.
        """
        if quiet:
            return "\n".join(self._problems())
        rows = [
            (part.node, part.part, part.predicted or "nothing", "" if part.seen is None else f"after {part.seen:.1f} s")
            for part in self.comparison.parts
        ]
        blocks = [
            f"Rehearsal of stack {self.stack} from snapshot {self.snapshot}, {self.measurement['seconds']:.1f} s",
            plain_table(_HEADINGS, rows) if rows else "Nothing restarts, and nothing did.",
            probe_report.text(self.measurement, quiet=True),
            "As predicted." if self.as_predicted else "\n".join(["Not as predicted:", *self._problems()]),
        ]
        return "\n\n".join(block for block in blocks if block)

    def _problems(self) -> list[str]:
        failure = [f"`hardway up` failed with exit code {self.exit_code}."] if self.exit_code else []
        return [f"- {problem}" for problem in (*failure, *self.comparison.differences)]
