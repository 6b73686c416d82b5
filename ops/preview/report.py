"""The impact of a change as a JSON document, as Markdown and as text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab.disruption import Disruption
from ops.preview.impact import ChangeKind, Impact, NodeImpact, Violation

_Row = tuple[str, str, Disruption, str]


@dataclass(frozen=True, kw_only=True)
class ImpactReport:
    """The impact of a change on a stack, compared with a limit.

    Attributes:
        stack: Name of the stack.
        impact: The impact.
        limit: The highest level that is allowed; None for no limit.
    """

    stack: str
    impact: Impact
    limit: Disruption | None

    @property
    def beyond(self) -> list[Violation]:
        """Everything that needs more than the limit."""
        return self.impact.beyond(self.limit)

    def document(self) -> dict[str, Any]:
        """Return the JSON document that the package documents."""
        return {
            "stack": self.stack,
            "disruption": str(self.impact.disruption),
            "maxDisruption": str(self.limit) if self.limit else None,
            "beyond": [
                {
                    "node": each.node,
                    "service": each.service,
                    "disruption": str(each.disruption),
                    "causes": list(each.causes),
                }
                for each in self.beyond
            ],
            "nodes": [_node_document(node) for node in self.impact.nodes],
            "order": [
                {"role": str(turn.role), "nodes": list(turn.nodes), "simultaneous": turn.simultaneous}
                for turn in self.impact.order
            ],
            "other": list(self.impact.other),
        }

    def markdown(self) -> str:
        """Return a short summary for a comment on a pull request."""
        changes_nothing = not (self.impact.nodes or self.impact.other)
        title = "nothing changes" if changes_nothing else f"disruption **{self.impact.disruption}**"
        blocks = [f"### Stack `{self.stack}`: {title}"]
        if self.beyond:
            blocks.append(f"**Refused**: `maxDisruption` allows at most **{self.limit}**.")
        if rows := _grouped(self._rows()):
            lines = [f"| {service} | {nodes} | {level} | {cause} |" for service, nodes, level, cause in rows]
            blocks.append("\n".join(["| What | Nodes | Disruption | Cause |", "| --- | --- | --- | --- |", *lines]))
        if turns := [
            f"{', '.join(turn.nodes)} ({turn.simultaneous} at a time)" if len(turn.nodes) > 1 else turn.nodes[0]
            for turn in self.impact.order
        ]:
            blocks.append(f"Order: {'; then '.join(turns)}.")
        if others := len(self.impact.other) + sum(len(node.other) for node in self.impact.nodes):
            blocks.append(f"Other resources that change, and restart nothing: {others}.")
        return "\n\n".join(blocks)

    def text(self) -> str:
        """Return one sentence about the level and the limit."""
        allowed = f", and at most {self.limit} is allowed" if self.limit else ""
        return f"Disruption of stack {self.stack}: {self.impact.disruption}{allowed}."

    def refusal(self) -> str:
        """Return the message about a change beyond the limit; empty if it is within the limit."""
        if not self.beyond:
            return ""
        lines = [
            f"  - {f'{each.service} on {each.node}' if each.service else each.node}: {each.disruption}"
            + (f" ({', '.join(each.causes)})" if each.causes else "")
            for each in self.beyond
        ]
        return "\n".join(
            [
                f"The change needs {self.impact.disruption}, and maxDisruption allows at most {self.limit}:",
                *lines,
                f"Nothing was changed. To allow it once, use --max-disruption {self.impact.disruption}.",
            ]
        )

    def _rows(self) -> Iterator[_Row]:
        for node in self.impact.nodes:
            if node.kind is not ChangeKind.CHANGED:
                yield "node", node.name, node.disruption, ", ".join(node.causes) or str(node.kind)
            for service in node.services:
                yield service.name, node.name, service.disruption, ", ".join(service.causes) or str(service.kind)


def _node_document(node: NodeImpact) -> dict[str, Any]:
    return {
        "name": node.name,
        "change": str(node.kind),
        "disruption": str(node.disruption),
        "causes": list(node.causes),
        "services": [
            {
                "name": service.name,
                "change": str(service.kind),
                "disruption": str(service.disruption),
                "causes": list(service.causes),
            }
            for service in node.services
        ],
        "other": list(node.other),
    }


def _grouped(rows: Iterator[_Row]) -> list[tuple[str, str, Disruption, str]]:
    """Return one row for all nodes with the same change, the highest level first. Cells are escaped."""
    groups: dict[tuple[str, Disruption, str], list[str]] = {}
    for service, node, disruption, cause in rows:
        groups.setdefault((service, disruption, cause), []).append(node)
    by_level = sorted(groups.items(), key=lambda group: group[0][1], reverse=True)
    return [
        (service, ", ".join(nodes), disruption, cause.replace("|", "\\|"))
        for (service, disruption, cause), nodes in by_level
    ]
