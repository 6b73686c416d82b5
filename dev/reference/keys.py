"""Renders the configuration keys as Markdown tables."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lab.config.schema import REQUIRED, SchemaKey


def tables(namespace: str, keys: Mapping[str, SchemaKey]) -> str:
    """Return a table of the stack's keys, then one table for each key that contains keys."""
    return "\n".join([_table(keys, f"{namespace}:"), *_nested_tables(keys, f"{namespace}:")])


def _nested_tables(keys: Mapping[str, SchemaKey], prefix: str) -> Iterator[str]:
    for name, key in keys.items():
        item = key.items or key.values or key
        if item.properties:
            title = f"Keys of `{prefix}{name}`" if item is key else f"Each item of `{prefix}{name}`"
            yield f"### {title}\n\n{_table(item.properties)}"
            yield from _nested_tables(item.properties, f"{prefix}{name}.")


def _table(keys: Mapping[str, SchemaKey], prefix: str = "") -> str:
    rows = "".join(
        f"| `{prefix}{name}` | {_type(key)} | {_default(key)} | {key.description} |\n" for name, key in keys.items()
    )
    return f"| Key | Type | Default | Description |\n| --- | --- | --- | --- |\n{rows}"


def _type(key: SchemaKey) -> str:
    return f"{key.type} of {key.items.type}s" if key.items else key.type


def _default(key: SchemaKey) -> str:
    default: Any = key.default
    if default is REQUIRED:
        return "required"
    if key.items and key.items.properties:
        return ", ".join(f"`{item['name']}`" for item in default) or "none"
    if default == "":
        return "empty"
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"
