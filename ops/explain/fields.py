"""Fields of configuration files, with the lines that they are on."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

FLAG = re.compile(r"\s*--([a-z][\w.-]*)=(.*?)( \\)?")
ASSIGNMENT = re.compile(r"\s*([\w.-]+)\s*=\s*(.*)")
UNIT_SUFFIXES = (".service", ".socket", ".timer")


@dataclass(frozen=True)
class Field:
    """A field of a configuration file.

    Attributes:
        path: Keys that lead to it. A list item has the path of its list, a command-line flag its name without dashes.
        line: Index of its line, from 0.
        value: The value as text. Empty for a mapping or list.
    """

    path: tuple[str, ...]
    line: int
    value: str = ""

    @property
    def name(self) -> str:
        """Its path, separated by dots."""
        return ".".join(self.path)


def fields(path: str, text: str) -> list[Field]:
    """Return the fields of a file: YAML, JSON, TOML, a systemd unit, or lines such as `name = value`.

    Args:
        path: Path of the file; its suffix decides the format.
        text: Content of the file.
    """
    if path.endswith(UNIT_SUFFIXES):
        return list(_unit_fields(text))
    if path.endswith(".toml"):
        return list(_toml_fields(text))
    return list(_yaml_fields(text)) or list(_assignments(text))


def _unit_fields(text: str) -> Iterator[Field]:
    for line, content in enumerate(text.splitlines()):
        if flag := FLAG.fullmatch(content):
            yield Field((flag[1],), line, flag[2])
        elif (assignment := ASSIGNMENT.fullmatch(content)) and not content.startswith("#"):
            yield Field((assignment[1],), line, assignment[2].removesuffix(" \\"))


def _assignments(text: str) -> Iterator[Field]:
    for line, content in enumerate(text.splitlines()):
        if (assignment := ASSIGNMENT.fullmatch(content)) and not content.startswith("#"):
            yield Field((assignment[1],), line, assignment[2])


def _yaml_fields(text: str) -> Iterator[Field]:
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError:
        return
    for document in documents:
        if isinstance(document, yaml.MappingNode):
            yield from _node_fields(document, ())


def _node_fields(node: Any, path: tuple[str, ...]) -> Iterator[Field]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield Field(inner, key.start_mark.line, value.value if isinstance(value, yaml.ScalarNode) else "")
            yield from _node_fields(value, inner)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            if isinstance(item, yaml.ScalarNode):
                yield Field(path, item.start_mark.line, item.value)
            else:
                yield from _node_fields(item, path)


def _toml_fields(text: str) -> Iterator[Field]:
    table: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    for line, content in enumerate(text.splitlines()):
        if content.startswith("["):
            table = key = _only_path(content.replace("[[", "[").replace("]]", "]"))
            yield Field(table, line)
        elif content[:1].strip() and "=" in content and (found := _only_path(f"{content.partition('=')[0]}= 0")):
            key = (*table, *found)
            value = content.partition("=")[2].strip()
            yield Field(key, line, "" if value == "[" else value.strip('"'))
        elif content.strip() not in ("", "]"):
            yield Field(key, line, content.strip().rstrip(",").strip('"'))


def _only_path(line: str) -> tuple[str, ...]:
    """Return the keys of a TOML document with a single key path."""
    try:
        value: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return ()
    path: list[str] = []
    while isinstance(value, dict) and value:
        [(key, value)] = value.items()
        path.append(key)
    return tuple(path)
