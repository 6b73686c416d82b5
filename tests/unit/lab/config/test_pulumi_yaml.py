"""Pulumi.yaml as the one declaration of the configuration: complete, in the engine's form, and what is read."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.converters import CONVERTERS
from lab.config.schema import REQUIRED, TYPE_DESCRIPTIONS, SchemaKey, decode, project
from system.files import CHECKOUT
from tests.support.stacks import NAMES, stack_spec

ENGINE_FIELDS = {"type", "default", "description", "items"}
"""The engine's own schema of Pulumi.yaml refuses any other field of a key."""


def declared() -> Mapping[str, Any]:
    document: Mapping[str, Any] = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text(encoding="utf-8"))
    return document


def every_setting(settings: Mapping[str, SchemaKey], prefix: str = "") -> Iterator[tuple[str, SchemaKey]]:
    """Every key, those within objects and lists too, as `workers[].address`."""
    for name, setting in settings.items():
        yield f"{prefix}{name}", setting
        if setting.items:
            yield f"{prefix}{name}[]", setting.items
            yield from every_setting(setting.items.properties, f"{prefix}{name}[].")
        yield from every_setting(setting.properties, f"{prefix}{name}.")


SETTINGS = dict(every_setting(project().schema))
NAMED = {key: setting for key, setting in SETTINGS.items() if not key.endswith("[]")}


def test_the_project_runs_in_the_environment_that_pulumi_install_makes() -> None:
    runtime = declared()["runtime"]
    assert runtime["name"] == "python"
    assert runtime["options"]["toolchain"] == "pip"
    assert not Path(runtime["options"]["virtualenv"]).is_absolute()


@pytest.mark.parametrize("key", declared()["config"])
def test_a_key_has_type_default_and_description_and_nothing_that_the_engine_refuses(key: str) -> None:
    declaration = declared()["config"][key]
    assert {"type", "default", "description"} <= set(declaration) <= ENGINE_FIELDS
    assert declaration["type"] in TYPE_DESCRIPTIONS
    # Those of an object are the object's own keys, which the engine does not look at.
    assert declaration["type"] != "array" or "items" in declaration
    assert "items" not in declaration or declaration["type"] in ("array", "object")


@pytest.mark.parametrize("key", NAMED)
def test_a_key_is_named_and_described_like_the_others(key: str) -> None:
    assert re.fullmatch(r"[a-z][a-zA-Z]*", key.rpartition(".")[2])
    description = NAMED[key].description
    assert description.endswith(".")
    assert description[0].isupper()


@pytest.mark.parametrize("key", NAMED)
def test_a_default_is_of_the_type_that_is_declared(key: str) -> None:
    setting = NAMED[key]
    if setting.default is REQUIRED:
        of_nodes = {"name", "address", "podCidr", "path", "privateKey", "hostKey"}
        of_join = {"endpoint", "caCertificate", "certificate", "key"}
        assert key.rpartition(".")[2] in of_nodes | of_join
    else:
        expected = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}[setting.type]
        assert type(setting.default) is expected
        assert decode(setting, setting.default) == setting.default


@pytest.mark.parametrize("pattern", CONVERTERS)
def test_what_is_checked_is_declared(pattern: str) -> None:
    assert pattern in SETTINGS


@pytest.mark.parametrize("key", [key for key, setting in SETTINGS.items() if setting.type in ("string", "integer")])
def test_every_text_and_number_is_checked(key: str) -> None:
    assert key in CONVERTERS


@pytest.mark.parametrize("stack", NAMES)
def test_every_stack_file_makes_a_lab(stack: str) -> None:
    assert stack_spec(stack).nodes
