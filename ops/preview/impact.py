"""The impact of a change, read from the document of `pulumi preview --json`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from components.preview import service_change
from lab.disruption import Disruption
from lab.node.service import Service
from lab.spec import Role, Spec

_MACHINE, _SERVICE, _NODE = "hardway:machine:Machine", "hardway:service:NodeService", "hardway:node:"
_REPLACEMENTS = ("replace", "create-replacement", "delete-replaced")
_KEYS = {"vcpu": "vcpus", "size": "disk", "baseVolumeId": "image", "triggers": "address", "pool": "host"}
"""Inputs of a machine's resources to the configuration keys that they come from, if their names differ."""
_CONSEQUENCES = {"disks"}
"""Inputs that change because another resource of the machine is replaced."""


class ChangeKind(StrEnum):
    """The kind of a change of a node or service. Only nodes are recreated."""

    ADDED = "added"
    CHANGED = "changed"
    RECREATED = "recreated"
    REMOVED = "removed"


_KINDS = {"create": ChangeKind.ADDED, "delete": ChangeKind.REMOVED}
"""The kind of a change by the engine's operation on a node's machine."""


@dataclass(frozen=True, kw_only=True)
class ServiceImpact:
    """The effect of a change on a service.

    Attributes:
        name: Name of the service.
        kind: The kind of the change.
        disruption: The level.
        causes: Names of the files, credentials, binaries, images and settings that change.
    """

    name: str
    kind: ChangeKind
    disruption: Disruption
    causes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NodeImpact:
    """The effect of a change on a node.

    Attributes:
        name: Name of the node.
        kind: The kind of the change.
        causes: Configuration keys or inputs that recreate the machine.
        services: Its services that change.
        other: Names of its other resources that change. They restart nothing.
    """

    name: str
    kind: ChangeKind
    causes: tuple[str, ...] = ()
    services: tuple[ServiceImpact, ...] = ()
    other: tuple[str, ...] = ()

    @property
    def disruption(self) -> Disruption:
        """The highest level. A removed node counts as recreated, because its machine is gone, too."""
        if self.kind in (ChangeKind.RECREATED, ChangeKind.REMOVED):
            return Disruption.RECREATE
        return max((service.disruption for service in self.services), default=Disruption.NONE)


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A part of a change that needs more than the limit.

    Attributes:
        node: Name of the node.
        service: Name of the service; None for the node as a whole.
        disruption: The level.
        causes: The causes.
    """

    node: str
    service: str | None
    disruption: Disruption
    causes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Nodes that change after those of the turns before.

    Attributes:
        role: Their role.
        nodes: Their names.
        simultaneous: Number of nodes that restart the same service or are recreated at the same time.
    """

    role: Role
    nodes: tuple[str, ...]
    simultaneous: int


@dataclass(frozen=True, kw_only=True)
class Impact:
    """The impact of a change on a lab.

    Attributes:
        nodes: The nodes that change.
        order: The order of the nodes that exist before and after.
        other: Names of resources of no node that change.
    """

    nodes: tuple[NodeImpact, ...]
    order: tuple[Turn, ...]
    other: tuple[str, ...]

    @property
    def disruption(self) -> Disruption:
        """The highest level of all nodes."""
        return max((node.disruption for node in self.nodes), default=Disruption.NONE)

    def beyond(self, limit: Disruption | None) -> list[Violation]:
        """Return everything that needs more than a limit; None for no limit."""
        return [] if limit is None else [each for each in self._parts() if each.disruption > limit]

    def _parts(self) -> Iterator[Violation]:
        for node in self.nodes:
            if node.kind in (ChangeKind.RECREATED, ChangeKind.REMOVED):
                causes = node.causes if node.kind is ChangeKind.RECREATED else ("removed",)
                yield Violation(node=node.name, service=None, disruption=node.disruption, causes=causes)
            for service in node.services:
                causes = ("removed",) if service.kind is ChangeKind.REMOVED else service.causes
                yield Violation(node=node.name, service=service.name, disruption=service.disruption, causes=causes)


@dataclass
class _Changes:
    """The changes of a node, as far as they were read."""

    kind: ChangeKind = ChangeKind.CHANGED
    causes: list[str] = field(default_factory=list)
    services: list[ServiceImpact] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Step:
    """A step of a preview.

    Attributes:
        operation: The engine's word for it, such as `update`.
        type: Type of the resource.
        name: Name of the resource.
        parent_type: Type of its parent; empty if it has none.
        parent: Name of its parent.
        old: Inputs before the change.
        new: Inputs after the change.
        reasons: Inputs that replace the resource.
    """

    operation: str
    type: str
    name: str
    parent_type: str
    parent: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    reasons: Sequence[str]

    @classmethod
    def read(cls, step: Mapping[str, Any]) -> "_Step":
        states = [step.get(name) or {} for name in ("oldState", "newState")]
        parent = states[1].get("parent") or states[0].get("parent") or ""
        old, new = (state.get("inputs") or {} for state in states)
        reasons = step.get("replaceReasons") or ()
        return cls(step["op"], *_type_and_name(step["urn"]), *_type_and_name(parent), old, new, reasons)


def read_impact(document: Mapping[str, Any], spec: Spec, services: Mapping[str, Mapping[str, Service]]) -> Impact:
    """Read the impact of a change.

    Args:
        document: The document of `pulumi preview --json`.
        spec: The lab after the change.
        services: Its services, by node and name.
    """
    nodes: dict[str, _Changes] = {}
    other = []
    steps = [step for step in map(_Step.read, document.get("steps") or ()) if step.operation != "same"]
    shown = {step.name for step in steps if step.type == _SERVICE}
    for step in steps:
        if step.type == _MACHINE and step.operation in _KINDS:
            nodes.setdefault(step.name, _Changes()).kind = _KINDS[step.operation]
        elif step.parent_type == _MACHINE or step.parent_type.startswith(_NODE):
            _read_part(step, nodes.setdefault(step.parent, _Changes()), services.get(step.parent, {}), shown)
        elif not step.type.startswith(_NODE):
            other.append(step.name)
    names = [node.name for node in spec.nodes]
    known = [name for name in names if name in nodes] + sorted(nodes.keys() - set(names))
    impacts = tuple(_node_impact(name, nodes[name]) for name in known)
    return Impact(nodes=impacts, order=_order(impacts, spec), other=tuple(sorted(other)))


def _read_part(step: _Step, node: _Changes, services: Mapping[str, Service], shown: set[str]) -> None:
    """Read the step of a resource of a node.

    Args:
        step: The step.
        node: The changes of the node, to be completed.
        services: Services of the node after the change.
        shown: Names of all services in the steps. The commands that apply them have the same names.
    """
    name = step.name.removeprefix(f"{step.parent}-")
    if step.parent_type == _MACHINE and step.operation in _REPLACEMENTS:
        node.kind = ChangeKind.RECREATED
        # Another host also has another base volume.
        consequences = _CONSEQUENCES | ({"baseVolumeId"} if "pool" in step.reasons else set())
        node.causes += [_KEYS.get(reason, reason) for reason in step.reasons if reason not in consequences]
    elif step.type == _SERVICE:
        node.services.append(_service_impact(name, step, services))
    elif step.name not in shown:
        node.other.append(name)


def _service_impact(name: str, step: _Step, services: Mapping[str, Service]) -> ServiceImpact:
    if step.operation == "create":
        return ServiceImpact(name=name, kind=ChangeKind.ADDED, disruption=Disruption.NONE)
    if step.operation == "delete":
        has_unit = bool(step.old.get("settings", {}).get("unit"))
        disruption = Disruption.RESTART if has_unit else Disruption.NONE
        return ServiceImpact(name=name, kind=ChangeKind.REMOVED, disruption=disruption)
    change = service_change(services[name], step.old, step.new)
    return ServiceImpact(
        name=name,
        kind=ChangeKind.CHANGED,
        disruption=change.disruption if change else Disruption.NONE,
        causes=change.causes if change else (),
    )


def _node_impact(name: str, changes: _Changes) -> NodeImpact:
    if changes.kind in (ChangeKind.ADDED, ChangeKind.REMOVED):
        return NodeImpact(name=name, kind=changes.kind)
    causes = sorted(set(changes.causes))
    if changes.kind is ChangeKind.RECREATED and not causes:
        # The engine gives no reason for a disk that is replaced because of the address of its node.
        causes = ["address"]
    return NodeImpact(
        name=name,
        kind=changes.kind,
        causes=tuple(causes),
        services=tuple(changes.services),
        other=tuple(sorted(set(changes.other))),
    )


def _order(impacts: Sequence[NodeImpact], spec: Spec) -> tuple[Turn, ...]:
    changing = {node.name for node in impacts if node.kind in (ChangeKind.CHANGED, ChangeKind.RECREATED)}
    turns = [
        Turn(role=role, nodes=tuple(node.name for node in nodes if node.name in changing), simultaneous=simultaneous)
        for role, nodes, simultaneous in (
            (Role.CONTROL_PLANE, spec.control_planes, 1),
            (Role.WORKER, spec.workers, spec.simultaneous_restarts),
        )
    ]
    return tuple(turn for turn in turns if turn.nodes)


def _type_and_name(urn: str) -> tuple[str, str]:
    """Return the type and the name in a URN; two empty strings for an empty one.

    For example `urn:pulumi:dev::hardway::hardway:lab:Lab$hardway:machine:Machine::node-1`.
    """
    if not urn:
        return "", ""
    *_, types, name = urn.split("::", 3)
    return types.rpartition("$")[2], name
