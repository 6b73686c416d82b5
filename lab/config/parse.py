"""Parse a stack's configuration into the spec of a lab.

Everything that is known to be wrong before a VM exists is refused here, with all problems in one message.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import yaml

from lab.config.build import build_spec
from lab.config.converters import CONVERTERS
from lab.config.files import FILE_PATTERNS
from lab.config.join import without_default_control_planes
from lab.config.manifests import manifest, no_project_files
from lab.config.problems import ConfigurationError, Problem, Problems
from lab.config.rules import RULES, Rule
from lab.config.schema import SchemaConverter, closest, decode, optional, project, value_of_unknown_key
from lab.config.secrets import KeyPath, find_secrets, secret_paths
from lab.config.values import Configuration, LabValues
from lab.spec import Spec

__all__ = ["ConfigurationError", "Problem", "load", "parse", "secret_values"]


def parse(
    values: Mapping[str, Any],
    secret: Iterable[str | KeyPath] = (),
    now: datetime | None = None,
    read_file: Callable[[str], str] = no_project_files,
    rules: Iterable[Rule] = RULES,
) -> Spec:
    """Parse a stack's configuration.

    Args:
        values: The values by key, with or without the project's namespace. Values are as the engine passes them to a
            program (scalars as text, everything else as JSON text) or as YAML represents them. Keys in other namespaces
            are ignored. A missing key gets the default from Pulumi.yaml.
        secret: The secret values: the top-level key of each, with or without the namespace, or its path.
        now: The time at which given certificates must be valid; None to skip that check.
        read_file: Returns the text of a file of the project. Raises ValueError with an explanation.
        rules: The rules that span several values; none to render what no node would accept.

    Returns:
        The spec of the lab.

    Raises:
        ConfigurationError: The configuration has problems. The error lists all of them.
    """
    schema, namespace = project().schema, project().name
    paths = {(key.removeprefix(f"{namespace}:"),) if isinstance(key, str) else key for key in secret}
    problems = Problems({f"{namespace}:{path[0]}" for path in paths})
    _check_namespaces(values, namespace, problems)
    decoded = _decoded(_own_values(values))
    secrets = find_secrets(paths, decoded, schema, problems, f"{namespace}:")
    readers = {"manifests[]": manifest(read_file), **dict.fromkeys(FILE_PATTERNS, optional(read_file))}
    converter = SchemaConverter({**CONVERTERS, **readers}, problems)
    converted = converter.convert(schema, without_default_control_planes(decoded), f"{namespace}:")
    configuration = Configuration(namespace=namespace, lab=cast(LabValues, converted), now=now)
    for rule in rules:
        rule(configuration, problems)
    problems.raise_if_any()
    return build_spec(configuration.lab, secrets)


def secret_values(values: Mapping[str, Any], keys: Iterable[str], stack_file: Path) -> set[KeyPath]:
    """Return the paths of the values that the engine treats as secret, for `parse`.

    The engine reports only top-level keys. The stack file tells which parts of their values are secret.

    Args:
        values: The values as the engine passes them to a program.
        keys: The keys that contain secrets.
        stack_file: The stack file. If it cannot be read or has other values, the whole value of a key is secret.
    """
    namespace = project().name
    own_keys = [key.removeprefix(f"{namespace}:") for key in keys if key.startswith(f"{namespace}:")]
    encrypted: Any = {}
    if own_keys:
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, yaml.YAMLError):
            encrypted = _own_values(yaml.safe_load(stack_file.read_text(encoding="utf-8")).get("config"))
    return secret_paths(_decoded(_own_values(values)), own_keys, encrypted)


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
        raise _unreadable(
            stack_file, "must be a mapping with the key config, and the value of that key must be a mapping"
        )
    return parse({str(key): value for key, value in configuration.items()})


def _unreadable(file: Path, explanation: str) -> ConfigurationError:
    return ConfigurationError((Problem(key=str(file), explanation=explanation),))


def _own_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in the project's namespace by key without the namespace."""
    namespace = f"{project().name}:"
    own_keys = (key for key in values if key.startswith(namespace) or ":" not in key)
    return {key.removeprefix(namespace): values[key] for key in own_keys}


def _decoded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in their declared types."""
    schema = project().schema
    return {name: decode(schema[name], value) if name in schema else value for name, value in values.items()}


def _check_namespaces(values: Mapping[str, Any], namespace: str, problems: Problems) -> None:
    """Check that no key is in a namespace with a similar name."""
    for key, value in values.items():
        prefix, colon, name = key.partition(":")
        if colon and prefix != namespace and closest(prefix, [namespace]):
            problems.add(
                key, f"has an unknown namespace; did you mean {namespace}:{name}?", value_of_unknown_key(value)
            )
