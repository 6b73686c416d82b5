"""The resources and functions that a Python SDK knows, in the terms of a Pulumi schema.

They are read from the package's types with the same functions of `pulumi._types` that the SDK uses.
"""

from __future__ import annotations

import collections.abc
import enum
import importlib
import inspect
import pkgutil
import re
import types
import typing
import warnings
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi import _types

Shape = str | tuple[str, Any]
"""A type: its name, or list, map, enum or object together with its elements."""


@dataclass(frozen=True)
class Resource:
    """A resource: its inputs and outputs with their types, and the names of its required inputs."""

    inputs: dict[str, Shape]
    required: set[str]
    outputs: dict[str, Shape]


@dataclass(frozen=True)
class Function:
    """A function: the names of its arguments, and its results with their types."""

    arguments: set[str]
    returned: dict[str, Shape]


def resources(package: str) -> dict[str, Resource]:
    """Return the package's resources by token. The provider is one of them."""
    result = {}
    for module in _modules(package):
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__ and issubclass(cls, pulumi.Resource):
                (token,) = re.findall(r"super\(\w+, __self__\).__init__\(\s*'([^']+)'", inspect.getsource(cls))
                token = f"pulumi:providers:{token}" if issubclass(cls, pulumi.ProviderResource) else token
                result[token] = _resource(cls, getattr(module, f"{cls.__name__}Args"))
    return result


def functions(package: str) -> dict[str, Function]:
    """Return the package's functions by token."""
    result = {}
    for module in _modules(package):
        for name, function in vars(module).items():
            if not inspect.isfunction(function) or function.__module__ != module.__name__ or name.endswith("_output"):
                continue
            source = inspect.getsource(function)
            for token, result_type in re.findall(r"runtime\.invoke\('([^']+)',.*typ=(\w+)\)", source):
                returned = _types.output_type_types(getattr(module, result_type))
                result[token] = Function(
                    arguments=set(re.findall(r"__args__\['(\w+)'\]", source)),
                    returned={key: _shape(value) for key, value in returned.items()},
                )
    return result


def _modules(package: str) -> list[types.ModuleType]:
    """Return the package's modules, except those that read the stack's configuration."""
    root = importlib.import_module(package)
    with warnings.catch_warnings():
        # Importing a deprecated resource prints a warning.
        warnings.simplefilter("ignore", DeprecationWarning)
        names = [info.name for info in pkgutil.walk_packages(root.__path__, f"{package}.")]
        return [importlib.import_module(name) for name in names if ".config" not in name]


def _resource(cls: type, arguments: type) -> Resource:
    names = _types.input_type_py_to_pulumi_names(arguments)
    parameters = inspect.signature(arguments).parameters
    return Resource(
        inputs={key: _shape(value) for key, value in _types.input_type_types(arguments).items()},
        required={names[name] for name, parameter in parameters.items() if parameter.default is parameter.empty},
        outputs={key: _shape(value) for key, value in _types.resource_types(cls).items()},
    )


_SCALARS: dict[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    typing.Any: "any",
    pulumi.Archive: "archive",
    pulumi.Asset: "asset",
}


def _shape(python_type: Any) -> Shape:
    if python_type in _SCALARS:
        return _SCALARS[python_type]
    origin, arguments = typing.get_origin(python_type), typing.get_args(python_type)
    if origin is collections.abc.Sequence:
        return "list", _shape(arguments[0])
    if origin is collections.abc.Mapping:
        return "map", _shape(arguments[1])
    if origin in (typing.Union, types.UnionType):
        # An Input[T] is a T, an awaitable or an output. In a union of assets and archives, the asset is first.
        return _shape(arguments[0])
    if issubclass(python_type, enum.Enum):
        return "enum", sorted(member.value for member in python_type)
    if _types.is_input_type(python_type):
        return "object", {key: _shape(value) for key, value in _types.input_type_types(python_type).items()}
    return "object", {key: _shape(value) for key, value in _types.output_type_types(python_type).items()}


def served_shape(spec: dict[str, Any], schema: dict[str, Any]) -> Shape:
    """Return the shape of a type in a plugin's schema."""
    reference = spec.get("$ref", "").removeprefix("pulumi.json#/")
    if reference:
        if reference in ("Any", "Asset", "Archive"):
            return str(reference.lower())
        named = schema["types"][reference.removeprefix("#/types/").replace("%2F", "/")]
        if "enum" in named:
            return "enum", sorted(value["value"] for value in named["enum"])
        return "object", served_shapes(named.get("properties", {}), schema)
    if spec["type"] == "array":
        return "list", served_shape(spec["items"], schema)
    if spec["type"] == "object":
        return "map", served_shape(spec["additionalProperties"], schema)
    return str(spec["type"])


def served_shapes(properties: dict[str, Any], schema: dict[str, Any]) -> dict[str, Shape]:
    """Return the shapes of properties in a plugin's schema."""
    return {key: served_shape(spec, schema) for key, spec in properties.items()}
