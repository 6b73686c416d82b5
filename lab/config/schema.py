"""The configuration's schema, as Pulumi.yaml declares it, and values brought into its shape.

The engine knows the types `string`, `integer`, `boolean`, `array` and `object` of top-level keys, checks them before
the program runs (one problem at a time; `--skip-config-validation` leaves that to the program), and fills in their
defaults. It looks at nothing inside an object, so the fields of a node stand under `properties`, in the manner of a
JSON schema, and are read here alone; those of an object, for which the engine takes none, under its `items`.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from lab.config.problems import ABSENT, LONGEST_SHOWN, Problems, shown
from system.files import CHECKOUT

PROJECT_FILE = CHECKOUT / "Pulumi.yaml"

DEEPEST = 32
"""Levels of nesting that a free-form object may have; no configuration of Kubernetes or containerd comes near."""

LARGEST_INTEGER = 2**63 - 1
"""The largest whole number that both TOML and Go's int64 hold."""

KINDS = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping of keys to values",
}

Converter = Callable[[Any], Any]
"""Turns a value of the right type into what the spec holds, or raises ValueError with an explanation."""


@dataclass(frozen=True, kw_only=True)
class SchemaKey:
    """One declared key.

    type: one of KINDS.
    default: ABSENT for a key that must be given.
    items: what an array holds.
    properties: the keys of an object; empty for a free-form one.
    secret: whether no message may show it; so is all within it. Its text may have several lines, as PEM has.
    """

    type: str
    description: str = ""
    default: Any = ABSENT
    items: "SchemaKey | None" = None
    properties: Mapping[str, "SchemaKey"] = field(default_factory=dict)
    secret: bool = False

    @property
    def holds_secret(self) -> bool:
        """Whether it, or anything within it, is secret."""
        within = (*self.properties.values(), *([self.items] if self.items else ()))
        return self.secret or any(setting.holds_secret for setting in within)

    @property
    def may_be_left_out(self) -> bool:
        """Whether an empty object says that there is none, and reads as None: one that is there must have some keys."""
        return self.default == {} and any(key.default is ABSENT for key in self.properties.values())


@dataclass(frozen=True, kw_only=True)
class Project:
    """The project's name, which is also the namespace of its configuration, and its keys."""

    name: str
    settings: Mapping[str, SchemaKey]


@cache
def project() -> Project:
    """What Pulumi.yaml declares."""
    # By libyaml where there is one: every run of the program reads it, and PyYAML's own loader takes ten times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    declared = yaml.load(PROJECT_FILE.read_text(encoding="utf-8"), Loader=loader)
    return Project(name=declared["name"], settings=_settings(declared["config"]))


def _settings(declared: Mapping[str, Any], secret: bool = False) -> dict[str, SchemaKey]:
    return {name: _setting(declaration, secret) for name, declaration in declared.items()}


def _setting(declared: Mapping[str, Any], secret: bool) -> SchemaKey:
    """secret: whether what it is within is."""
    items: Mapping[str, Any] = declared.get("items", {})
    of_object = items if declared["type"] == "object" else {}
    secret = secret or (of_object or declared).get("secret", False)
    return SchemaKey(
        type=declared["type"],
        description=declared.get("description", ""),
        default=declared.get("default", ABSENT),
        items=_setting(items, secret) if items and not of_object else None,
        properties=_settings((of_object or declared).get("properties", {}), secret),
        secret=secret,
    )


class Values:
    """Brings values into the shape that settings declare, fills in defaults, and notes what does not fit."""

    def __init__(self, readers: Mapping[str, Converter], problems: Problems) -> None:
        """readers: for a key such as `workers[].address`, what checks and converts its value."""
        self._readers = readers
        self._problems = problems

    def read(
        self, settings: Mapping[str, SchemaKey], values: Mapping[Any, Any], prefix: str, pattern: str = ""
    ) -> dict[str, Any]:
        """The value of every setting, but for those that a problem was noted for.

        prefix: what stands before each key in a problem.
        pattern: the same for the keys of the readers.
        """
        result: dict[str, Any] = {}
        for name in values:
            if name not in settings:
                shown_value = unknown_value(values[name], settings.values())
                self._problems.add(f"{prefix}{spelled(name)}", shown_value, _unknown(name, settings, prefix))
        for name, setting in settings.items():
            value = values.get(name, setting.default)
            key = f"{prefix}{name}"
            if value is ABSENT:
                self._problems.add(key, ABSENT, f"is missing; {setting.description}")
                continue
            fitted = self._fit(setting, value, key, f"{pattern}{name}")
            if fitted is not ABSENT:
                result[name] = fitted
        return result

    def _fit(self, setting: SchemaKey, value: Any, key: str, pattern: str) -> Any:
        """The value as the spec wants it; ABSENT once a problem was noted."""
        shown_value = ABSENT if setting.holds_secret else value
        explanation = _mismatch(setting, value)
        if explanation:
            self._problems.add(key, shown_value, explanation)
            return ABSENT
        if setting.may_be_left_out and not value:
            return None
        fitted = value
        if setting.items:
            fitted = [
                self._fit(setting.items, item, f"{key}[{index}]", f"{pattern}[]") for index, item in enumerate(value)
            ]
            if ABSENT in fitted:
                if not setting.items.properties:
                    return ABSENT
                # The others are looked at all the same, under the numbers that they have.
                fitted = [{} if item is ABSENT else item for item in fitted]
        elif setting.properties:
            fitted = self.read(setting.properties, value, f"{key}.", f"{pattern}.")
        reader = self._readers.get(pattern)
        if reader is None:
            return fitted
        try:
            return reader(fitted)
        except ValueError as error:
            self._problems.add(key, shown_value, str(error))
            return ABSENT


def decode(setting: SchemaKey, value: Any) -> Any:
    """A top-level value as its type has it.

    The engine hands a program every scalar as text and every other value as JSON text. A value that is not of the
    setting's type comes back as it is, for `Values` to explain.
    """
    text = value
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int | float):
        text = str(value)
    if not isinstance(text, str):
        return value
    if setting.type == "string":
        return text
    if setting.type == "integer":
        return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else value
    if setting.type == "boolean":
        return {"true": True, "false": False}.get(text, value)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return value


def suggestion(name: object, known: Iterable[str]) -> str:
    """The end of a sentence on an unknown name: the nearest known one, or all there are."""
    known = list(known)
    folded = {other.casefold(): other for other in known}
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1)
    if near:
        return f"; did you mean {folded[near[0]]}?"
    return f"; known are {', '.join(known)}"


def spelled(name: object) -> str:
    """The name of a key as a problem spells it."""
    return name if isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_SHOWN else shown(name)


def unknown_value(value: Any, beside: Iterable[SchemaKey] = ()) -> Any:
    """The value of an unknown key; ABSENT where it may be what another key would have kept secret.

    beside: the settings that are known where it stands.
    """
    # The engine hands over an object as JSON text; keys are of several lines.
    more = value[:1] in ("{", "[") or "\n" in value if isinstance(value, str) else isinstance(value, dict | list)
    return ABSENT if more or any(known.secret and known.type == "string" for known in beside) else value


def _unknown(name: object, settings: Mapping[str, SchemaKey], prefix: str) -> str:
    """Why a key is unknown and which one was perhaps meant."""
    if isinstance(name, str) and re.split(r"[.\[]", name)[0] in settings:
        return f"unknown key; to set one field, use `pulumi config set --path '{prefix}{spelled(name)}'`"
    return f"unknown key{suggestion(name, settings)}"


def _mismatch(setting: SchemaKey, value: Any) -> str:
    """Why a value is not of the type that a setting declares; empty if it is."""
    fits = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[setting.type]
    if not fits:
        return f"must be {KINDS[setting.type]}{_quotes(setting, value)}"
    if isinstance(value, str) and not setting.secret and not value.isprintable():
        return "must be text on one line, without control characters"
    if setting.type == "object" and not setting.properties:
        return free_form_mismatch(value)
    return ""


def _quotes(setting: SchemaKey, value: Any) -> str:
    """What to do about quotes, where these alone make the value one of another type."""
    if setting.type == "string" and isinstance(value, bool | int | float):
        return ", in quotes"
    if isinstance(value, str) and decode(setting, value) != value:
        return ", without quotes"
    return ""


def free_form_mismatch(value: Any, depth: int = 0, in_list: bool = False) -> str:
    """Why a value cannot stand in a configuration file of a service, be it YAML or TOML; empty if it can."""
    if depth > DEEPEST:
        return f"must not be nested deeper than {DEEPEST} levels"
    if isinstance(value, dict):
        if any(not isinstance(key, str) for key in value):
            return "must have text as its keys, in quotes where YAML reads them as something else"
        within = [free_form_mismatch(item, depth + 1, in_list) for item in value.values()]
        return next(filter(None, within), "")
    if isinstance(value, list):
        return next(filter(None, (free_form_mismatch(item, depth + 1, True) for item in value)), "")
    if value is None:
        return "must not have null in a list: null takes a key away, and only a mapping has keys" if in_list else ""
    if isinstance(value, int):
        return "" if abs(value) <= LARGEST_INTEGER else f"must not have a number above {LARGEST_INTEGER}"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "must not have a number that is infinite or not a number"
    return "" if isinstance(value, str) else f"must be made of text, numbers, true, false and null, not {value!r}"
