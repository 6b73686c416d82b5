"""The schema of the configuration, read from Pulumi.yaml, and the conversion of values by that schema.

The Pulumi engine knows top-level keys of the types `string`, `integer`, `boolean`, `array` and `object`. It checks
these types before the program runs, reports only the first problem, and fills in defaults. With
`--skip-config-validation` it does not check them.

The engine ignores the fields of objects; only this module reads them. Pulumi.yaml declares them under `properties`, as
JSON Schema does. The engine rejects `properties` on a top-level object, so they are under its `items` there.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Final

import yaml

from lab.config.problems import MAX_SHOWN_LENGTH, OMITTED, Problems, display
from system.files import CHECKOUT

PROJECT_FILE = CHECKOUT / "Pulumi.yaml"

MAX_NESTING = 32
"""The levels of nesting allowed in a free-form object. No configuration of Kubernetes or containerd needs so many."""

MAX_INTEGER = 2**63 - 1
"""The largest integer that both TOML and Go's int64 can represent."""

TYPE_DESCRIPTIONS = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
}
"""The description of each type in messages."""

ALLOWED = "allowed"
"""The value of `secret` in Pulumi.yaml for a key with a value that Pulumi may hold as secret, entirely or in part."""

Converter = Callable[[Any], Any]
"""Converts a value of the declared type into what the spec holds. Raises ValueError with an explanation."""


def optional(converter: Converter) -> Converter:
    """Wrap a converter so that an empty string becomes None."""
    return lambda text: converter(text) if text else None


class Marker(Enum):
    """The type of REQUIRED and INVALID."""

    REQUIRED = "required"
    INVALID = "invalid"


REQUIRED: Final = Marker.REQUIRED
"""The default of a key that the configuration must set."""

INVALID: Final = Marker.INVALID
"""The result of a failed conversion."""


@dataclass(frozen=True, kw_only=True)
class SchemaKey:
    """A declared key.

    Attributes:
        type: One of TYPE_DESCRIPTIONS.
        description: One or more sentences for users.
        default: The default; REQUIRED if the key has none.
        items: The declaration of an array's elements.
        properties: The keys of an object; empty if the object is free-form.
        values: The declaration of each value of an object with free keys, such as paths.
        secret: True if no message may show the value or anything in it.
        accepts_secret: True if Pulumi may hold the value, or a part of it, as secret. Such text may have several
            lines, as PEM has.
    """

    type: str
    description: str = ""
    default: Any = REQUIRED
    items: "SchemaKey | None" = None
    properties: Mapping[str, "SchemaKey"] = field(default_factory=dict)
    values: "SchemaKey | None" = None
    secret: bool = False
    accepts_secret: bool = False

    @property
    def contains_secret(self) -> bool:
        """True if the value, or a part of it, is secret."""
        parts = (*self.properties.values(), *filter(None, (self.items, self.values)))
        return self.secret or any(part.contains_secret for part in parts)

    @property
    def is_optional_object(self) -> bool:
        """True if an empty object means "none", because a non-empty one has required keys."""
        return self.default == {} and any(key.default is REQUIRED for key in self.properties.values())


@dataclass(frozen=True, kw_only=True)
class Project:
    """The Pulumi project.

    Attributes:
        name: The name of the project, which is also the namespace of its configuration.
        schema: The declared top-level keys.
    """

    name: str
    schema: Mapping[str, SchemaKey]


@cache
def project() -> Project:
    """Return the project that Pulumi.yaml declares."""
    # Every run of the program reads the file, and PyYAML's own loader needs ten times as long as libyaml.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(PROJECT_FILE.read_text(encoding="utf-8"), Loader=loader)
    return Project(name=document["name"], schema=_schema(document["config"]))


def _schema(declarations: Mapping[str, Any], secret: bool = False) -> dict[str, SchemaKey]:
    return {name: _schema_key(declaration, secret) for name, declaration in declarations.items()}


def _schema_key(declaration: Mapping[str, Any], in_secret: bool) -> SchemaKey:
    items: Mapping[str, Any] = declaration.get("items", {})
    object_declaration = items if declaration["type"] == "object" else {}
    declared = (object_declaration or declaration).get("secret", False)
    values = (object_declaration or declaration).get("additionalProperties")
    secret = in_secret or declared is True
    return SchemaKey(
        type=declaration["type"],
        description=declaration.get("description", ""),
        default=declaration.get("default", REQUIRED),
        items=_schema_key(items, secret) if items and not object_declaration else None,
        properties=_schema((object_declaration or declaration).get("properties", {}), secret),
        values=_schema_key(values, secret) if values else None,
        secret=secret,
        accepts_secret=secret or declared == ALLOWED,
    )


class SchemaConverter:
    """Converts values by a schema, fills in defaults, and reports problems."""

    def __init__(self, converters: Mapping[str, Converter], problems: Problems) -> None:
        """Use converters and report to problems.

        Args:
            converters: The converter of each key, such as `workers[].address`. The converter of an object runs only if
                all fields of the object are valid.
            problems: Receives the problems.
        """
        self._converters = converters
        self._problems = problems

    def convert(
        self, schema: Mapping[str, SchemaKey], values: Mapping[Any, Any], prefix: str, pattern: str = ""
    ) -> dict[str, Any]:
        """Convert values, and leave out those that have a problem.

        Args:
            schema: The declared keys.
            values: The values by key.
            prefix: The start of each full key in a problem, such as `hardway:workers[1].`.
            pattern: The start of each key in the table of converters, such as `workers[].`.
        """
        result: dict[str, Any] = {}
        for name in values:
            if name not in schema:
                shown_value = value_of_unknown_key(values[name], schema.values())
                self._problems.add(f"{prefix}{display_key(name)}", _unknown_key(name, schema, prefix), shown_value)
        for name, key_schema in schema.items():
            value = values.get(name, key_schema.default)
            if value is REQUIRED:
                self._problems.add(f"{prefix}{name}", f"is missing. {key_schema.description}")
                continue
            converted = self._convert(key_schema, value, f"{prefix}{name}", f"{pattern}{name}")
            if converted is not INVALID:
                result[name] = converted
        return result

    def _convert(self, schema: SchemaKey, value: Any, key: str, pattern: str) -> Any:
        shown_value = OMITTED if schema.contains_secret else value
        mismatch = _type_mismatch(schema, value)
        if mismatch:
            self._problems.add(key, mismatch, shown_value)
            return INVALID
        if schema.is_optional_object and not value:
            return None
        converted = value
        if schema.items:
            converted = [
                self._convert(schema.items, item, f"{key}[{index}]", f"{pattern}[]") for index, item in enumerate(value)
            ]
            if INVALID in converted:
                if not schema.items.properties:
                    return INVALID
                # Keep the positions, so that the rules check the other elements under their own index.
                converted = [{} if item is INVALID else item for item in converted]
        elif schema.values:
            converted = self._convert_values(schema.values, value, key, pattern)
        elif schema.properties:
            converted = self.convert(schema.properties, value, f"{key}.", f"{pattern}.")
            if len(converted) < len(schema.properties):
                return converted
        converter = self._converters.get(pattern)
        if converter is None:
            return converted
        try:
            return converter(converted)
        except ValueError as error:
            self._problems.add(key, str(error), shown_value)
            return INVALID

    def _convert_values(self, schema: SchemaKey, values: Mapping[str, Any], key: str, pattern: str) -> dict[str, Any]:
        """Convert the values of an object with free keys. A null stays, because it removes the value."""
        converted = {
            name: None if value is None else self._convert(schema, value, f"{key}{quoted(name)}", f"{pattern}{{}}")
            for name, value in values.items()
        }
        # Keep the names, so that the rules check them.
        return {name: {} if value is INVALID else value for name, value in converted.items()}


def decode(schema: SchemaKey, value: Any) -> Any:
    """Decode a top-level value as the engine passes it to a program.

    The engine passes every scalar as text and every other value as JSON text.

    Returns:
        The value in the declared type. A value of another type is returned as it is, so that `SchemaConverter` reports
        the problem.
    """
    text = value
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int | float):
        text = str(value)
    if not isinstance(text, str):
        return value
    if schema.type == "string":
        return text
    if schema.type == "integer":
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else value
    if schema.type == "boolean":
        return {"true": True, "false": False}.get(text, value)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return value


def suggestion(name: object, known_names: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the most similar known name, or all known names."""
    known_names = list(known_names)
    similar = closest(name, known_names)
    return f"; did you mean {similar}?" if similar else f"; the known keys are {', '.join(known_names)}"


def closest(name: object, known_names: Iterable[str]) -> str | None:
    """Return the known name that is most similar to an unknown one. None if no name is similar."""
    folded = {known.casefold(): known for known in known_names}
    matches = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    return folded[matches[0]] if matches else None


def distinct(values: Sequence[str], if_empty: str) -> tuple[str, ...]:
    """Return the values of a list.

    Args:
        values: The values.
        if_empty: The reason for which the list must not be empty, or what to set instead.

    Raises:
        ValueError: The list is empty, or has a value twice.
    """
    if not values:
        raise ValueError(f"must not be empty{if_empty}")
    repeated = next((value for value in values if values.count(value) > 1), None)
    if repeated:
        raise ValueError(f"must not contain {repeated} twice")
    return tuple(values)


def display_key(name: object) -> str:
    """Return the name of a key as a message shows it."""
    return name if isinstance(name, str) and name.isprintable() and len(name) <= MAX_SHOWN_LENGTH else display(name)


def display_path(path: Sequence[str | int]) -> str:
    """Return the end of a key that leads to a value in an object with free keys, as a message shows it.

    Args:
        path: The keys, and the indexes of lists.
    """
    return "".join(f"[{key}]" if isinstance(key, int) else f".{display_key(key)}" for key in path)


def quoted(name: str) -> str:
    """Return the part of a full key that names a value in an object with free keys."""
    return f'["{display_key(name)}"]'


def value_of_unknown_key(value: Any, siblings: Iterable[SchemaKey] = ()) -> Any:
    """Return the value of an unknown key, or OMITTED if it may be a secret under a misspelled key.

    Args:
        value: The value of the unknown key.
        siblings: The known keys of the same object.
    """
    # The engine passes objects as JSON text, and private keys have several lines.
    if isinstance(value, str):
        may_contain_secret = value[:1] in ("{", "[") or "\n" in value
    else:
        may_contain_secret = isinstance(value, dict | list)
    has_secret_sibling = any(sibling.secret and sibling.type == "string" for sibling in siblings)
    return OMITTED if may_contain_secret or has_secret_sibling else value


def _unknown_key(name: object, schema: Mapping[str, SchemaKey], prefix: str) -> str:
    if isinstance(name, str) and re.split(r"[.\[]", name)[0] in schema:
        return f"is an unknown key; to set a single field, use `pulumi config set --path '{prefix}{display_key(name)}'`"
    return f"is an unknown key{suggestion(name, schema)}"


def _type_mismatch(schema: SchemaKey, value: Any) -> str:
    """Explain why a value does not have the declared type. Return an empty string if it has."""
    has_type = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[schema.type]
    if not has_type:
        return f"must be {TYPE_DESCRIPTIONS[schema.type]}{_quoting_hint(schema, value)}"
    if isinstance(value, str) and not schema.accepts_secret and not value.isprintable():
        return "must be text on one line, without control characters"
    if schema.values and any(not isinstance(name, str) for name in value):
        return "must have only text as keys; put other keys in quotes"
    if schema.type == "object" and not schema.properties and not schema.values:
        return _free_form_problem(value)
    return ""


def _quoting_hint(schema: SchemaKey, value: Any) -> str:
    if schema.type == "string" and isinstance(value, bool | int | float):
        return ", in quotes"
    if isinstance(value, str) and decode(schema, value) != value:
        return ", without quotes"
    return ""


def _free_form_problem(value: Any, depth: int = 0, in_list: bool = False) -> str:
    """Explain why a service's configuration file, in YAML or TOML, cannot hold a value. Return "" if it can."""
    if depth > MAX_NESTING:
        return f"must not be nested deeper than {MAX_NESTING} levels"
    if isinstance(value, dict):
        if any(not isinstance(key, str) for key in value):
            return "must have only text as keys; put other keys in quotes"
        return next(filter(None, (_free_form_problem(item, depth + 1, in_list) for item in value.values())), "")
    if isinstance(value, list):
        return next(filter(None, (_free_form_problem(item, depth + 1, True) for item in value)), "")
    if value is None:
        return "must not contain null in a list; null removes a key, and a list has no keys" if in_list else ""
    if isinstance(value, int):
        return "" if abs(value) <= MAX_INTEGER else f"must not contain a number above {MAX_INTEGER}"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "must not contain a number that is infinite or NaN"
    if isinstance(value, str):
        return ""
    return f"must contain only text, numbers, true, false and null, but contains {value!r}"
