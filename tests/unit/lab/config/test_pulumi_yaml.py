"""Pulumi.yaml declares all configuration keys, in the format that the engine requires."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.converters import CONVERTERS
from lab.config.schema import REQUIRED, TYPE_DESCRIPTIONS, SchemaKey, decode, project
from lab.config.values import HostValues, JoinValues, LabValues, NodeValues, RouteValues
from system.files import CHECKOUT
from tests.support.stacks import NAMES, stack_spec

ENGINE_FIELDS = {"type", "default", "description", "items"}
"""The fields of a key that the engine allows in Pulumi.yaml."""


def declared() -> Mapping[str, Any]:
    document: Mapping[str, Any] = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text(encoding="utf-8"))
    return document


def all_keys(schema: Mapping[str, SchemaKey], prefix: str = "") -> Iterator[tuple[str, SchemaKey]]:
    """Yield all keys, including those in objects and lists, such as `workers[].address`."""
    for name, key_schema in schema.items():
        yield f"{prefix}{name}", key_schema
        if key_schema.items:
            yield f"{prefix}{name}[]", key_schema.items
            yield from all_keys(key_schema.items.properties, f"{prefix}{name}[].")
        if key_schema.values:
            yield f"{prefix}{name}{{}}", key_schema.values
            yield from all_keys(key_schema.values.properties, f"{prefix}{name}{{}}.")
        yield from all_keys(key_schema.properties, f"{prefix}{name}.")


def fields_of(name: str) -> Mapping[str, SchemaKey]:
    """Return the fields of the objects in a list."""
    items = project().schema[name].items
    assert items
    return items.properties


def fields_of_values(name: str) -> Mapping[str, SchemaKey]:
    """Return the fields of the values of an object with free keys."""
    values = project().schema[name].values
    assert values
    return values.properties


KEYS_BY_PATH = dict(all_keys(project().schema))
NAMED = {key: key_schema for key, key_schema in KEYS_BY_PATH.items() if not key.endswith(("[]", "{}"))}


def test_the_project_uses_a_relative_virtual_environment() -> None:
    runtime = declared()["runtime"]
    assert runtime["name"] == "python"
    assert runtime["options"]["toolchain"] == "pip"
    assert not Path(runtime["options"]["virtualenv"]).is_absolute()


@pytest.mark.parametrize("key", declared()["config"])
def test_top_level_keys_are_declared_as_the_engine_requires(key: str) -> None:
    declaration = declared()["config"][key]
    assert {"type", "default", "description"} <= set(declaration) <= ENGINE_FIELDS
    assert declaration["type"] in TYPE_DESCRIPTIONS
    # The items of an object are its own keys, which the engine ignores.
    assert declaration["type"] != "array" or "items" in declaration
    assert "items" not in declaration or declaration["type"] in ("array", "object")


@pytest.mark.parametrize("key", NAMED)
def test_keys_have_consistent_names_and_descriptions(key: str) -> None:
    assert re.fullmatch(r"[a-z][a-zA-Z]*", key.rpartition(".")[2])
    description = NAMED[key].description
    assert description.endswith(".")
    assert description[0].isupper()


@pytest.mark.parametrize("key", NAMED)
def test_defaults_have_the_declared_type(key: str) -> None:
    key_schema = NAMED[key]
    if key_schema.default is REQUIRED:
        node_keys = {"name", "address", "podCidr", "path", "privateKey", "hostKey", "host", "uri", "archive"}
        join_keys = {"endpoint", "caCertificate", "certificate", "key"}
        assert key.rpartition(".")[2] in node_keys | join_keys
    else:
        expected = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}[key_schema.type]
        assert type(key_schema.default) is expected
        assert decode(key_schema, key_schema.default) == key_schema.default


@pytest.mark.parametrize("pattern", CONVERTERS)
def test_converters_have_declared_keys(pattern: str) -> None:
    assert pattern in KEYS_BY_PATH


@pytest.mark.parametrize(
    "key", [key for key, key_schema in KEYS_BY_PATH.items() if key_schema.type in ("string", "integer")]
)
def test_all_texts_and_numbers_have_a_converter(key: str) -> None:
    assert key in CONVERTERS


@pytest.mark.parametrize("stack", NAMES)
def test_every_stack_file_is_valid(stack: str) -> None:
    assert stack_spec(stack).nodes


@pytest.mark.parametrize(
    ("values", "schema"),
    [
        (LabValues, project().schema),
        (NodeValues, fields_of("workers")),
        (RouteValues, fields_of("podRoutes")),
        (JoinValues, project().schema["join"].properties),
        (HostValues, fields_of_values("hosts")),
    ],
)
def test_typed_values_have_the_declared_keys(values: type, schema: Mapping[str, SchemaKey]) -> None:
    assert values.__annotations__.keys() == schema.keys()
