"""Parse a stack's configuration into the spec of a lab.

Everything that is known to be wrong before a VM exists is refused here, with all problems in one message.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import yaml

from lab.config.build import build_spec
from lab.config.converters import CONVERTERS
from lab.config.join import without_default_control_planes
from lab.config.problems import ConfigurationError, Problem, Problems
from lab.config.rules import RULES
from lab.config.schema import SchemaConverter, decode, project, suggestion, value_of_unknown_key
from lab.config.values import Configuration, LabValues
from lab.spec import Spec

__all__ = ["ConfigurationError", "Problem", "load", "parse"]


def parse(values: Mapping[str, Any], secret: Iterable[str] = (), now: datetime | None = None) -> Spec:
    """Parse a stack's configuration.

    Args:
        values: The values by key, with or without the project's namespace. Values are as the engine passes them to a
            program (scalars as text, everything else as JSON text) or as YAML represents them. Keys in other namespaces
            are ignored. A missing key gets the default from Pulumi.yaml.
        secret: The keys whose values the engine treats as secret, entirely or in part.
        now: The time at which given certificates must be valid; None to skip that check.

    Returns:
        The spec of the lab.

    Raises:
        ConfigurationError: The configuration has problems. The error lists all of them.
    """
    schema, namespace = project().schema, project().name
    problems = Problems({key if ":" in key else f"{namespace}:{key}" for key in secret})
    own_values = _own_values(values, namespace, problems)
    decoded = {name: decode(schema[name], value) if name in schema else value for name, value in own_values.items()}
    converter = SchemaConverter(CONVERTERS, problems)
    converted = converter.convert(schema, without_default_control_planes(decoded), f"{namespace}:")
    configuration = Configuration(namespace=namespace, lab=cast(LabValues, converted), now=now)
    for rule in RULES:
        rule(configuration, problems)
    problems.raise_if_any()
    return build_spec(configuration.lab)


def load(stack_file: Path) -> Spec:
    """Parse the configuration in a stack file, without the engine.

    Encrypted values cannot be read without the engine.

    Raises:
        ConfigurationError: The configuration has problems, or the file cannot be read.
    """
    try:
        document = yaml.safe_load(stack_file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _unreadable(stack_file, f"cannot be read: {error}") from error
    configuration = {} if document is None else document
    if isinstance(configuration, dict):
        configuration = configuration.get("config") or {}
    if not isinstance(configuration, dict):
        raise _unreadable(stack_file, "must be a mapping with the key config, whose value must be a mapping")
    return parse({str(key): value for key, value in configuration.items()})


def _unreadable(file: Path, explanation: str) -> ConfigurationError:
    return ConfigurationError((Problem(key=str(file), explanation=explanation),))


def _own_values(values: Mapping[str, Any], namespace: str, problems: Problems) -> dict[str, Any]:
    """Return the values in the project's namespace by key without the namespace."""
    own_values = {}
    for key, value in values.items():
        prefix, colon, name = key.partition(":")
        if not colon:
            own_values[prefix] = value
        elif prefix == namespace:
            own_values[name] = value
        elif suggestion(prefix, [namespace]).startswith("; did you mean"):
            problems.add(
                key, f"has an unknown namespace; did you mean {namespace}:{name}?", value_of_unknown_key(value)
            )
    return own_values
