"""Explains where the files of a node come from; see the package for the JSON documents."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.config.schema import closest, suggestion
from lab.node.render import services_of
from lab.node.service import Service
from lab.spec import Node
from ops.command_line import OK, PROBLEM, parse, parser, report_error
from ops.explain.explanation import (
    ExplainedPart,
    Line,
    explain,
    field_names,
    matching_lines,
    protected_reason,
    purpose,
    service_override_keys,
)
from ops.explain.provenance import node_path, override_names
from ops.stack_file import StackConfiguration, read_stack
from system.errors import HardwayError
from system.files import CHECKOUT
from system.tables import plain_table

MAX_TEXT_WIDTH = 64
"""Width of a line's text, after which its origin follows."""


def main(arguments: Sequence[str] | None = None, checkout: Path = CHECKOUT) -> int:
    """Print the explanation and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        checkout: Folder of the stack files.
    """
    options_parser = parser(
        "explain",
        "Explains where the files of a node come from: the configuration key, default or source of each line, its "
        "readers, and the effect of a change. Needs no running lab.",
        "Exit code: 0 explained, 1 no file of the service has that field, 2 no such stack, node or service.",
    )
    options_parser.add_argument("node", metavar="NODE", help="the node")
    options_parser.add_argument("service", metavar="SERVICE", nargs="?", help="a service of it, such as kubelet")
    options_parser.add_argument("field", metavar="FIELD", nargs="?", help="a field or flag, such as maxPods or node-ip")
    options = parse(options_parser, arguments)
    try:
        stack = read_stack(options.stack, checkout)
    except HardwayError as error:
        return report_error(str(error))
    nodes = {node.name: node for node in stack.spec.nodes}
    if options.node not in nodes:
        return report_error(f"Stack {options.stack} has no node {options.node}{suggestion(options.node, nodes)}")
    node = nodes[options.node]
    services = {service.name: service for service in services_of(stack.spec, node)}
    if options.service is None:
        _print(_node_document(options.stack, node, services), options.json, _node_text(node, services))
        return OK
    if options.service not in services:
        hint = suggestion(options.service, services)
        return report_error(f"Node {node.name} has no service {options.service}{hint}")
    service = services[options.service]
    parts = explain(stack, node, service)
    heading = {"stack": options.stack, "node": node.name, "service": service.name}
    if options.field is not None:
        return _explain_field(heading, stack, node, parts, options.field, as_json=options.json)
    document = {
        **heading,
        "unit": service.unit,
        "needs": list(service.needs),
        "purpose": purpose(service),
        "parts": [part.document() for part in parts],
    }
    text = _service_text(node, service, parts, with_lines=not options.quiet, with_reasons=options.verbose)
    _print(document, options.json, text)
    return OK


def _print(document: Any, as_json: bool, text: str) -> None:
    print(json.dumps(document, indent=2) if as_json else text)


def _node_document(stack: str, node: Node, services: dict[str, Service]) -> dict[str, Any]:
    return {
        "stack": stack,
        "node": node.name,
        "role": str(node.role),
        "address": str(node.address),
        "podCidr": str(node.pod_cidr) if node.pod_cidr else None,
        "kubernetesVersion": node.kubernetes_version,
        "services": [
            {
                "name": service.name,
                "unit": service.unit,
                "needs": list(service.needs),
                "files": len(service.files),
                "purpose": purpose(service),
            }
            for service in services.values()
        ],
    }


def _node_text(node: Node, services: dict[str, Service]) -> str:
    pods = f"pods {node.pod_cidr}" if node.pod_cidr else "no pods"
    heading = f"{node.name}: {node.role}, {node.address}, {pods}, Kubernetes {node.kubernetes_version}"
    rows = [
        (service.name, service.unit or "-", str(len(service.files)), purpose(service)) for service in services.values()
    ]
    table = plain_table(("SERVICE", "UNIT", "FILES", "PURPOSE"), rows)
    return f"{heading}\n\n{table}\n\nMore about a service: hardway explain {node.name} SERVICE [FIELD]"


def _service_text(
    node: Node, service: Service, parts: list[ExplainedPart], *, with_lines: bool, with_reasons: bool
) -> str:
    unit = f"unit {service.unit}" if service.unit else "no unit"
    needs = f"; starts after {', '.join(service.needs)}" if service.needs else ""
    blocks = [f"{service.name} on {node.name}: {purpose(service)}\n{unit}{needs}"]
    for part in parts:
        entry = part.entry
        source = f"  {entry.source}" if entry.source else ""
        lines = [f"{entry.kind} {entry.path}  {entry.mode} {entry.owner}{source}"]
        lines += [f"  {line}" for line in _part_notes(part)]
        if entry.kind == "file":
            lines += _file_lines(part, with_reasons) if with_lines else []
        elif part.lines:
            lines += [f"  Version from {_origins(line)}." for line in part.lines]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _part_notes(part: ExplainedPart) -> list[str]:
    notes = []
    if part.readers:
        notes.append(f"Read by {'; '.join(part.readers)}.")
    notes.append(f"A change {part.effect}.")
    if drained := [line.field.name for line in part.lines if line.field and line.effect != part.effect]:
        notes.append(f"Before that, the node is drained for a change of {', '.join(drained)}.")
    if part.path_origins:
        notes.append(f"Its path or existence depends on: {', '.join(map(str, part.path_origins))}.")
    if part.override_keys:
        notes.append(f"Override its fields with {' or '.join(part.override_keys)}.")
    return notes


def _file_lines(part: ExplainedPart, with_reasons: bool) -> list[str]:
    width = min(MAX_TEXT_WIDTH, max((len(line.text) for line in part.lines), default=0))
    lines = []
    for line in part.lines:
        notes = [_origins(line)] if line.origins else []
        if line.protected:
            notes.append(f"protected: {line.protected}")
        if with_reasons:
            notes += [origin.reason for origin in line.origins if origin.reason]
        note = f"  <- {'; '.join(notes)}" if notes else ""
        lines.append(f"  {line.number:>4}  {line.text.ljust(width)}{note}".rstrip())
    return lines


def _origins(line: Line) -> str:
    return ", ".join(map(str, line.origins))


def _explain_field(
    heading: dict[str, str],
    stack: StackConfiguration,
    node: Node,
    parts: list[ExplainedPart],
    name: str,
    *,
    as_json: bool,
) -> int:
    found = matching_lines(parts, name)
    document: dict[str, Any] = {**heading, "field": name}
    if found:
        document["matches"] = [
            {"path": part.entry.path, "readers": list(part.readers), **line.document()} for part, line in found
        ]
        _print(document, as_json, "\n\n".join(_field_text(part, line) for part, line in found))
        return OK
    similar = closest(name, field_names(parts))
    key = _free_key(parts)
    path = tuple(name.removeprefix("--").split(".")) if key not in ("", "containerd") else (name,)
    reason = protected_reason(key, path) if key else ""
    names = override_names(node_path(stack.spec, node), key, path) if key and not reason else []
    document |= {"matches": [], "protected": reason, "overrideKeys": names, "similar": similar or ""}
    hint = f"; did you mean {similar}?" if similar else "."
    lines = [f"No file of {heading['service']} on {node.name} sets {name}{hint}"]
    if reason:
        lines.append(f"It cannot be overridden: {reason}")
    elif names:
        lines.append(f"If the program has a field {name}, its own default applies. Set it with {' or '.join(names)}.")
    _print(document, as_json, "\n".join(lines))
    return PROBLEM


def _free_key(parts: list[ExplainedPart]) -> str:
    """Return the configuration key that is laid over the service's file, such as `kubelet`; empty if there is none."""
    names = service_override_keys(parts)
    return names[-1].rpartition(":")[2] if names else ""


def _field_text(part: ExplainedPart, line: Line) -> str:
    lines = [line.text.strip().removesuffix(" \\")]
    if line.field and len(line.field.path) > 1:
        lines.append(f"  Field:      {line.field.name}")
    lines += [f"  File:       {part.entry.path}, line {line.number}", f"  Comes from: {_origins(line)}"]
    lines += [f"  Reason:     {origin.reason}" for origin in line.origins if origin.reason]
    if part.readers:
        lines.append(f"  Read by:    {'; '.join(part.readers)}")
    lines.append(f"  A change:   {line.effect}")
    if line.protected:
        lines.append(f"  Protected:  {line.protected}")
    elif line.override_keys:
        lines.append(f"  Override:   {' or '.join(line.override_keys)}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
