"""Generates a JSON Schema for stack files, so that editors complete keys and mark mistakes.

Pulumi.yaml declares the keys; this is the same declaration in the words of https://json-schema.org/draft/2020-12.
"""

from collections.abc import Mapping
from typing import Any

from lab.config.fields.allowed import KEYS
from lab.config.fields.tables import KnownField, table
from lab.config.overrides import FLAG_TABLES, PROTECTED_FIELDS, PROTECTED_FLAGS
from lab.config.schema import REQUIRED, Project, SchemaKey

SECRET = {
    "type": "object",
    "properties": {"secure": {"type": "string", "description": "A value that Pulumi encrypted."}},
    "required": ["secure"],
    "additionalProperties": False,
}
"""An encrypted value, as `pulumi config set --secret` writes it in the place of any other value."""

FIELD_TABLES = {"kubelet": "kubelet", "kubeProxy": "kube-proxy"}
"""The services with fields in the schema, and their tables. containerd's fields are left out, because they are many."""

ENGINE_KEYS = {
    "encryptionsalt": {"type": "string", "description": "Salt of the stack's passphrase; the engine writes it."},
    "encryptedkey": {"type": "string", "description": "Key of a cloud secrets provider; the engine writes it."},
    "secretsprovider": {"type": "string", "description": "Secrets provider of the stack."},
    "environment": {"description": "Pulumi ESC environments."},
}
"""Top-level keys of a stack file that belong to Pulumi."""


def stack_schema(project: Project) -> dict[str, Any]:
    """Return the JSON Schema for the project's stack files."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Stack file of {project.name}",
        "type": "object",
        "properties": {
            "config": {
                "type": "object",
                "properties": {f"{project.name}:{name}": _schema(key, name) for name, key in project.schema.items()},
                # Keys of other namespaces, such as pulumi:disable-default-providers, are Pulumi's own.
                "patternProperties": {f"^(?!{project.name}:)[^:]+:.+$": {}},
                "additionalProperties": False,
            },
            **ENGINE_KEYS,
        },
        "required": ["config"],
        "additionalProperties": False,
        "$defs": {"secret": SECRET, **definitions()},
    }


def definitions() -> dict[str, Any]:
    """Return the schemas of overrides by key: the fields of the kubelet and of kube-proxy, and the flags."""
    return {
        **{service: _fields(name, table(name).root) for service, name in FIELD_TABLES.items()},
        **{service: _flags(name) for service, name in FLAG_TABLES.items()},
    }


def _fields(name: str, field: KnownField, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schema of a field of a program."""
    kind = field.variants[-1].kind if field.variants else "object"
    if kind == "list":
        return {"type": ["array", "null"], "items": _fields(name, field.children["[]"], path)}
    if kind == "map":
        value, keys = _fields(name, field.children["*"], path), KEYS.get(name, {}).get(field.path)
        if keys:
            return {"type": ["object", "null"], "properties": dict.fromkeys(keys, value), "additionalProperties": False}
        return {"type": ["object", "null"], "additionalProperties": value}
    if kind == "object":
        protected = PROTECTED_FIELDS["kubelet" if name == "kubelet" else "kubeProxy"]
        properties = {
            key: _fields(name, child, (*path, key))
            for key, child in field.children.items()
            if (*path, key) not in protected
        }
        return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}
    if kind.startswith("enum("):
        return _or_secret({"enum": [*kind.removeprefix("enum(").removesuffix(")").split("|"), None]})
    return _or_secret({"type": [*_TYPES.get(kind.rstrip("0123456789"), ("string",)), "null"]} if kind != "any" else {})


def _flags(name: str) -> dict[str, Any]:
    protected: Mapping[str, str] = next(
        PROTECTED_FLAGS[service] for service, flags in FLAG_TABLES.items() if flags == name
    )
    return {
        "type": "object",
        "properties": {flag: {} for flag in table(name).names if flag not in protected},
        "additionalProperties": False,
    }


_TYPES = {
    "bool": ("boolean",),
    "int": ("integer",),
    "uint": ("integer",),
    "float": ("number",),
    "quantity": ("string", "number"),
    "durationOrNanoseconds": ("string", "integer"),
}
"""The types of the kinds of values without the number of their bits. All others are text."""


def _or_secret(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"$ref": "#/$defs/secret"}]} if schema else {}


def _schema(key: SchemaKey, name: str = "") -> dict[str, Any]:
    value = {"$ref": f"#/$defs/{name}"} if name in (*FIELD_TABLES, *FLAG_TABLES) else _value(key)
    return {"description": key.description, "anyOf": [value, {"$ref": "#/$defs/secret"}], **_default(key)}


def _value(key: SchemaKey) -> dict[str, Any]:
    if key.type == "array":
        return {"type": "array", "items": _schema(key.items) if key.items else {}}
    if key.values:
        return {"type": "object", "additionalProperties": {"anyOf": [_schema(key.values), {"type": "null"}]}}
    if key.type == "object" and key.properties:
        properties = {name: _schema(field, name) for name, field in key.properties.items()}
        return {"type": "object", "properties": properties, "additionalProperties": False, **_required(key)}
    # The engine reads 2 for a string and "2" for an integer.
    scalars = {"string": ["string", "integer"], "integer": ["integer", "string"], "boolean": ["boolean", "string"]}
    return {"type": scalars.get(key.type, key.type)}


def _required(key: SchemaKey) -> dict[str, list[str]]:
    required = [name for name, field in key.properties.items() if field.default is REQUIRED]
    # An empty object is how an optional one is absent.
    return {} if key.is_optional_object or not required else {"required": required}


def _default(key: SchemaKey) -> dict[str, Any]:
    return {} if key.default is REQUIRED else {"default": key.default}
