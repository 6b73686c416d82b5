"""Generates a JSON Schema for stack files, so that editors complete keys and mark mistakes.

Pulumi.yaml declares the keys; this is the same declaration in the words of https://json-schema.org/draft/2020-12.
"""

from typing import Any

from lab.config.schema import REQUIRED, Project, SchemaKey

SECRET = {
    "type": "object",
    "properties": {"secure": {"type": "string", "description": "A value that Pulumi encrypted."}},
    "required": ["secure"],
    "additionalProperties": False,
}
"""An encrypted value, as `pulumi config set --secret` writes it in the place of any other value."""

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
                "properties": {f"{project.name}:{name}": _schema(key) for name, key in project.schema.items()},
                # Keys of other namespaces, such as pulumi:disable-default-providers, are Pulumi's own.
                "patternProperties": {f"^(?!{project.name}:)[^:]+:.+$": {}},
                "additionalProperties": False,
            },
            **ENGINE_KEYS,
        },
        "required": ["config"],
        "additionalProperties": False,
        "$defs": {"secret": SECRET},
    }


def _schema(key: SchemaKey) -> dict[str, Any]:
    return {"description": key.description, "anyOf": [_value(key), {"$ref": "#/$defs/secret"}], **_default(key)}


def _value(key: SchemaKey) -> dict[str, Any]:
    if key.type == "array":
        return {"type": "array", "items": _schema(key.items) if key.items else {}}
    if key.type == "object" and key.properties:
        properties = {name: _schema(field) for name, field in key.properties.items()}
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
