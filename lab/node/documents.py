"""Configuration documents as text: YAML and JSON, and the merge of a user's fields into the lab's own."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

try:
    # PyYAML's own dumper is ten times slower, and every run of the program dumps every document.
    from yaml import CSafeDumper as BaseDumper
except ImportError:
    from yaml import SafeDumper as BaseDumper  # type: ignore[assignment]


class _Dumper(BaseDumper):
    """A YAML dumper that writes multi-line text in block style."""


_GO_BOOLEAN_OR_NUMBER = re.compile(
    r"[yYnN]|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?0[box][0-9a-fA-F]+"
)
"""Text that the YAML parser of Go programs reads as a boolean or a number.

PyYAML writes some of it without quotes. Source: https://github.com/yaml/go-yaml/blob/v2/resolve.go.
"""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    quotes = "'" if _GO_BOOLEAN_OR_NUMBER.fullmatch(text.replace("_", "")) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else quotes)


_Dumper.add_representer(str, _represent_text)


def to_yaml(*documents: Mapping[str, Any]) -> str:
    """Return documents as readable YAML: block style, keys in the order given."""
    return yaml.dump_all(map(dict, documents), Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120)


def to_json(document: Mapping[str, Any]) -> str:
    """Return a document as indented JSON."""
    return json.dumps(document, indent=2) + "\n"


def to_line(document: Mapping[str, Any]) -> str:
    """Return a document as JSON on one line. Equal documents have equal texts."""
    return json.dumps(document, sort_keys=True)


def overlay(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `overrides` into a copy of `base`.

    Mappings merge key by key, None removes a key, and any other value replaces the one in `base`.
    """
    merged = dict(base)
    # Sorted, so that the text does not depend on the order in which a user wrote the fields.
    for key, value in sorted(overrides.items()):
        existing = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping):
            merged[key] = overlay(existing if isinstance(existing, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged
