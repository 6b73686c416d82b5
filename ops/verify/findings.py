"""What was found, and how it is told: to people, to programs, and by the exit code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Finding:
    """One difference between a node and what the stack says.

    service: whose it is; empty where no service of the stack could set it right.
    subject: the file, unit or image that differs; empty where it is the service itself.
    """

    node: str
    service: str
    subject: str
    difference: str

    def __str__(self) -> str:
        what = f"{self.subject}: {self.difference}" if self.subject else self.difference
        return f"{self.node}  {self.service or '-'}  {what}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All that one look at a lab found.

    nodes, services: how many were looked at.
    unseen: what could not be looked at, by name, and why.
    """

    nodes: int
    services: int
    findings: tuple[Finding, ...]
    unseen: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """0 where nothing differs, 1 where something does, 2 where not all could be looked at."""
        if self.unseen:
            return 2
        return 1 if self.findings else 0

    def text(self) -> str:
        """A line for each finding, one for each thing that could not be looked at, and the count."""
        lines = [str(finding) for finding in self.findings]
        lines += [f"{name}  could not be looked at: {reason}" for name, reason in self.unseen.items()]
        counts = (
            _count(self.nodes, "node"),
            _count(self.services, "service"),
            _count(len(self.findings), "difference"),
        )
        return "\n".join([*lines, ", ".join(counts)])

    def json(self) -> str:
        """The same as a JSON document."""
        document = {
            "nodes": self.nodes,
            "services": self.services,
            "differences": [vars(finding) for finding in self.findings],
            "unseen": dict(self.unseen),
        }
        return json.dumps(document, indent=2)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
