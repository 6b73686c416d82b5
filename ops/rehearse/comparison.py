"""The comparison of the predicted impact of a change with the measured one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.disruption import Disruption
from ops.probe.report import Document
from ops.probe.services import BOOT, UNKNOWN_SERVICES


@dataclass(frozen=True, kw_only=True)
class RehearsedPart:
    """A service of a node, or its machine.

    Attributes:
        node: Name of the node.
        part: Name of the service, or BOOT.
        predicted: The predicted disruption, `added` or `removed`. None if nothing was predicted.
        seen: Seconds from the start of the measurement until it was active again. None if it did not start.
    """

    node: str
    part: str
    predicted: str | None
    seen: float | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The impact of a change, predicted and measured.

    Attributes:
        parts: Everything that was predicted or seen.
        differences: A sentence about each difference.
    """

    parts: Sequence[RehearsedPart]
    differences: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Return the parts of the JSON document."""
        return {"differences": list(self.differences), "parts": [asdict(part) for part in self.parts]}


def compare(impact: Document, measurement: Document) -> Comparison:
    """Compare the document of `hardway preview` with that of `hardway probe`.

    Services that the change adds or removes do not count, nor do those of a node that is added or removed: there is
    nothing that could restart.
    """
    nodes = {node["name"]: node for node in impact["nodes"]}
    passing = {name for name, node in nodes.items() if node["change"] in ("added", "removed")}
    uncounted = {
        (name, service["name"])
        for name, node in nodes.items()
        for service in node["services"]
        if service["change"] != "changed"
    }
    predicted, seen = dict(_predicted(nodes)), dict(_seen(measurement))
    restarts = {
        place: at
        for place, at in seen.items()
        if place[0] not in passing and place not in uncounted and (place[1] == BOOT or (place[0], BOOT) not in seen)
    }
    keys = sorted({**predicted, **restarts, **{(name, BOOT): "" for name in passing}})
    parts = [
        RehearsedPart(
            node=node,
            part=part,
            predicted=nodes[node]["change"] if node in passing else predicted.get((node, part)),
            seen=restarts.get((node, part)),
        )
        for node, part in keys
    ]
    differences = [*_surprises(parts, passing), *_disturbances(nodes, impact, measurement), *_gaps(nodes, measurement)]
    return Comparison(parts=parts, differences=differences)


def _predicted(nodes: Mapping[str, Document]) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield everything that must restart: node and service with the level, and the machine of a recreated node."""
    for name, node in nodes.items():
        if node["change"] == "recreated":
            yield (name, BOOT), node["disruption"]
        elif node["change"] == "changed":
            for service in node["services"]:
                if service["change"] == "changed" and Disruption(service["disruption"]) >= Disruption.RESTART:
                    yield (name, service["name"]), service["disruption"]


def _seen(measurement: Document) -> Iterator[tuple[tuple[str, str], float]]:
    for each in measurement["services"]:
        yield (each["node"], each["service"]), each["at"]


def _surprises(parts: Sequence[RehearsedPart], passing: set[str]) -> Iterator[str]:
    """Yield a sentence about each part that did not do what was predicted."""
    for part in parts:
        if part.predicted is None:
            yield f"{part.part} on {part.node} started after {part.seen:.1f} s, which was not predicted."
        elif part.seen is None and part.node not in passing:
            yield f"{part.part} on {part.node} was predicted to start again ({part.predicted}), and did not."


def _disturbances(nodes: Mapping[str, Document], impact: Document, measurement: Document) -> Iterator[str]:
    """Yield a sentence about each disturbance of the cluster that no predicted restart explains."""
    levels = {name: Disruption(node["disruption"]) for name, node in nodes.items()}
    for node in measurement["nodes"]:
        name = node["node"]
        is_added = name in nodes and nodes[name]["change"] == "added"
        if node["notReady"] and not is_added and levels.get(name, Disruption.NONE) < Disruption.RESTART:
            yield f"{name} was not Ready for {node['notReady']:.1f} s, and nothing on it was predicted to restart."
    for pod in measurement["pods"] or ():
        restarted = str(pod["change"]).startswith("container ")
        if restarted and levels.get(pod["node"], Disruption.NONE) < Disruption.DRAIN:
            yield f"{pod['change']} in pod {pod['namespace']}/{pod['pod']} on {pod['node']}, which was not predicted."
    if Disruption(impact["disruption"]) < Disruption.RESTART:
        for target in measurement["targets"]:
            if target["failures"]:
                place = f"{target['target']} from {target['from']}"
                yield f"{target['failures']} requests to {place} failed, and nothing was predicted to restart."


def _gaps(nodes: Mapping[str, Document], measurement: Document) -> Iterator[str]:
    """Yield a sentence about each restart that could not be seen. A removed node cannot be asked at the end."""
    removed = {name for name, node in nodes.items() if node["change"] == "removed"}
    for note in map(str, measurement["notes"]):
        if note.startswith(UNKNOWN_SERVICES) and note.removeprefix(UNKNOWN_SERVICES).split()[0] not in removed:
            yield f"Not measured: {note}"
    if measurement["pods"] is None:
        yield "Not measured: the pods at the end."
