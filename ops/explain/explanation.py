"""The explanation of a node, a service or a field, as data for the text and the JSON document."""

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from lab.config.overrides import PROTECTED_FIELDS, PROTECTED_FLAGS
from lab.config.secrets import KeyPath
from lab.node import paths
from lab.node.render import services_of
from lab.node.service import Service
from lab.node.worker import state_files
from lab.spec import Node
from ops.explain.fields import Field, fields
from ops.explain.provenance import LAB_WIDE_FLAGS, Origin, Provenance, find_origins, node_path, override_names, texts_of
from ops.explain.source import VERSIONS, find_source
from ops.explain.variation import PROBE, varied
from ops.render.tree import ServicePart, entries
from ops.stack_file import StackConfiguration

PKI = Origin("source", "lab/pki.py", "The lab creates its keys and certificates.")

FOLDER_READERS = (
    (f"{paths.UNITS}/", "systemd"),
    (f"{paths.CNI_CONFIGURATION}/", "containerd, which watches this folder"),
    ("/etc/sysctl.d/", "systemd-sysctl at boot, and node-setup"),
    ("/etc/modules-load.d/", "systemd-modules-load at boot, and node-setup"),
    ("/etc/sysusers.d/", "systemd-sysusers at boot, and node-setup"),
    ("/etc/tmpfiles.d/", "systemd-tmpfiles at boot, and node-setup"),
    (paths.CRICTL_CONFIGURATION, "crictl"),
    (paths.ETCD_MEMBERS, "etcd-member, the program that joins etcd's members"),
)
"""Readers of files that no other file names."""


@dataclass(frozen=True)
class Line:
    """A line of a file.

    Attributes:
        number: Number of the line, from 1.
        text: The line.
        field: The field on the line, None if there is none.
        origins: Places that it comes from. Empty for a blank line.
        protected: Reason why its field cannot be overridden. Empty if it can, or if nothing overrides the file.
        override_keys: Configuration keys that override its field.
        effect: Effect of a change of the line, such as `restarts kubelet after the node is drained`.
    """

    number: int
    text: str
    field: Field | None
    origins: tuple[Origin, ...]
    protected: str
    override_keys: tuple[str, ...]
    effect: str

    def document(self) -> dict[str, Any]:
        """Return the line for the JSON document."""
        return {
            "number": self.number,
            "text": self.text,
            "field": self.field.name if self.field else "",
            "origins": [asdict(origin) for origin in self.origins],
            "protected": self.protected,
            "overrideKeys": list(self.override_keys),
            "effect": self.effect,
        }


@dataclass(frozen=True)
class ExplainedPart:
    """A file, program or image of a service.

    Attributes:
        entry: Kind, path, mode and owner.
        effect: Effect of a change, such as `restarts kubelet`.
        readers: Programs that read the file.
        path_origins: Keys that decide whether and where it exists.
        override_keys: Configuration keys that are laid over the file.
        lines: Lines of the file. Empty for a credential or an image; one line with the version for a program.
    """

    entry: ServicePart
    effect: str
    readers: tuple[str, ...]
    path_origins: tuple[Origin, ...]
    override_keys: tuple[str, ...]
    lines: tuple[Line, ...]

    def document(self) -> dict[str, Any]:
        """Return the part for the JSON document."""
        return {
            "path": self.entry.path,
            "kind": self.entry.kind,
            "mode": self.entry.mode,
            "owner": self.entry.owner,
            "source": self.entry.source,
            "effect": self.effect,
            "readers": list(self.readers),
            "pathOrigins": [asdict(origin) for origin in self.path_origins],
            "overrideKeys": list(self.override_keys),
            "lines": [line.document() for line in self.lines],
        }


def purpose(service: Service) -> str:
    """Return the description of a service in its unit, or the paths that it consists of."""
    for path, text in service.visible_files.items():
        if service.unit and path.endswith(f"/{service.unit}") and (found := re.search(r"(?m)^Description=(.*)", text)):
            return found[1]
    return ", ".join(service.files)


def explain(stack: StackConfiguration, node: Node, service: Service) -> list[ExplainedPart]:
    """Explain every part of a service on a node."""
    provenance = find_origins(stack, node, service)
    services = services_of(stack.spec, node)
    path = node_path(stack.spec, node)
    return [_part(entry, service, services, provenance, path) for entry in entries(service)]


def protected_reason(key: str, field_path: tuple[str, ...]) -> str:
    """Return the reason why a field or flag cannot be overridden; empty if it can.

    Args:
        key: Configuration key that is laid over the file, such as `kubelet` or `etcdFlags`.
        field_path: Keys that lead to the field, or the name of the flag.
    """
    flags: Mapping[Any, Mapping[str, str]] = PROTECTED_FLAGS
    all_fields: Mapping[Any, Mapping[tuple[str, ...], str]] = PROTECTED_FIELDS
    if key in flags:
        return flags[key].get(field_path[-1], "")
    return all_fields.get(key, {}).get(field_path, "")


def service_override_keys(parts: Iterable[ExplainedPart]) -> list[str]:
    """Return the configuration keys that are laid over any file of a service."""
    return list(dict.fromkeys(key for part in parts for key in part.override_keys))


def matching_lines(parts: Iterable[ExplainedPart], name: str) -> list[tuple[ExplainedPart, Line]]:
    """Return the lines of a field and of the fields in it.

    A field matches by its whole name, or else by the end of it: `enabled` matches `webhook.enabled`.
    """
    lines = [(part, line) for part in parts for line in part.lines if line.field]
    field_name = name.removeprefix("--")
    for matches in (_has_name, _ends_with):
        if found := [(part, line) for part, line in lines if line.field and matches(line.field.name, field_name)]:
            return found
    return []


def field_names(parts: Iterable[ExplainedPart]) -> list[str]:
    """Return the names of all fields in the files of a service."""
    return list(dict.fromkeys(line.field.name for part in parts for line in part.lines if line.field))


def _has_name(field: str, name: str) -> bool:
    return field == name or field.startswith(f"{name}.")


def _ends_with(field: str, name: str) -> bool:
    return field.endswith(f".{name}") or f".{name}." in f".{field}."


def _part(
    entry: ServicePart, service: Service, services: Iterable[Service], provenance: Provenance, node: KeyPath
) -> ExplainedPart:
    key = provenance.override_keys.get(entry.path, "")
    path_origins = provenance.paths.get(entry.path, [])
    if entry.kind == "credential":
        path_origins = [PKI, *path_origins]
    part_effect, readable = _effect(entry, service), entry.kind == "file"
    lines: list[Line] = []
    if entry.kind in ("file", "binary", "tool"):
        text = provenance.texts[entry.path]
        by_line = {field.line: field for field in reversed(fields(entry.path, text))} if readable else {}
        kubelet = yaml.safe_load(text) if readable and key == "kubelet" else {}
        names = frozenset(field.path[-1] for field in by_line.values() if field.path)
        for index, content in enumerate(text.splitlines()):
            field = by_line.get(index)
            origins = provenance.lines.get((entry.path, index), [])
            if not origins and re.search(r"\w", content):
                version = Origin("source", VERSIONS)
                origins = [find_source(service.name, entry.path, content, field, names) if readable else version]
            is_setting = key and field and _is_setting(key, content)
            reason = protected_reason(key, field.path) if is_setting and field else ""
            overrides = override_names(node, key, field.path) if is_setting and field and not reason else ()
            effect = _line_effect(part_effect, kubelet, field)
            lines.append(Line(index + 1, content, field, tuple(origins), reason, tuple(overrides), effect))
    return ExplainedPart(
        entry=entry,
        effect=part_effect,
        readers=tuple(_readers(entry, service, services)) if entry.kind in ("file", "credential") else (),
        path_origins=tuple(path_origins),
        override_keys=tuple(override_names(node, key)) if key else (),
        lines=tuple(lines),
    )


def _is_setting(key: str, line: str) -> bool:
    """Return True if a configuration key can set a line of an overridden file. In a unit, only flags can be set."""
    return key not in LAB_WIDE_FLAGS or line.lstrip().startswith("--")


def _effect(entry: ServicePart, service: Service) -> str:
    if entry.effect == "transient":
        return "restarts nothing: the file exists only until the service is healthy"
    if entry.effect == "keep":
        return "restarts nothing"
    if not service.unit:
        return "restarts nothing: its readers notice the change"
    if entry.kind == "binary" and posixpath.basename(entry.path) == "kubelet":
        return "restarts kubelet, after the node is drained if the minor version changes"
    return f"{'reloads' if service.activation == 'reload' else 'restarts'} {service.name}"


def _line_effect(part_effect: str, kubelet: Mapping[str, Any], field: Field | None) -> str:
    """Return the effect of a change of a line, which can be more than that of other lines: see `components.drain`.

    Args:
        part_effect: Effect of a change of the file.
        kubelet: The kubelet's fields if this is their file.
        field: The field on the line, None if there is none.
    """
    if kubelet and field and state_files(varied(kubelet, field.path, {"cpu": PROBE})) != state_files(kubelet):
        return f"{part_effect} after the node is drained"
    return part_effect


def _readers(entry: ServicePart, owner: Service, services: Iterable[Service]) -> Iterator[str]:
    """Yield the services with a file that names a path, and the field that names it.

    If there is none, the reader is known by the folder, or else it is the owner of the file.
    """
    found = False
    for service in services:
        for path, text in texts_of(service).items():
            if path == entry.path or entry.path not in text:
                continue
            names = [each.name for each in fields(path, text) if each.value.split(" ")[-1] == entry.path]
            if names:
                found = True
                yield f"{service.name} ({names[0]} in {path})"
    if not found:
        yield next((reader for folder, reader in FOLDER_READERS if entry.path.startswith(folder)), owner.name)
