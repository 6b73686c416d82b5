"""What a Python SDK knows of its plugin: the resources and functions of the package, in the terms of a Pulumi schema.

It is read from the package's own types, by the functions of `pulumi._types` through which the SDK itself reads them.
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
"""A type: its name, or list, map, enum or object together with what it is made of."""


@dataclass(frozen=True)
class Resource:
    """A resource's inputs and outputs with their types, and which inputs it must be given."""

    inputs: dict[str, Shape]
    required: set[str]
    outputs: dict[str, Shape]


@dataclass(frozen=True)
class Function:
    """A function's arguments and what it returns, with its type."""

    arguments: set[str]
    returned: dict[str, Shape]


def resources(package: str) -> dict[str, Resource]:
    """The package's resources by token; the provider is one of them."""
    found = {}
    for module in _modules(package):
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__ and issubclass(cls, pulumi.Resource):
                (token,) = re.findall(r"super\(\w+, __self__\).__init__\(\s*'([^']+)'", inspect.getsource(cls))
                token = f"pulumi:providers:{token}" if issubclass(cls, pulumi.ProviderResource) else token
                found[token] = _resource(cls, getattr(module, f"{cls.__name__}Args"))
    return found


def functions(package: str) -> dict[str, Function]:
    """The package's functions by token."""
    found = {}
    for module in _modules(package):
        for name, function in vars(module).items():
            if not inspect.isfunction(function) or function.__module__ != module.__name__ or name.endswith("_output"):
                continue
            source = inspect.getsource(function)
            for token, result in re.findall(r"runtime\.invoke\('([^']+)',.*typ=(\w+)\)", source):
                returned = _types.output_type_types(getattr(module, result))
                found[token] = Function(
                    arguments=set(re.findall(r"__args__\['(\w+)'\]", source)),
                    returned={key: _shape(value) for key, value in returned.items()},
                )
    return found


def _modules(package: str) -> list[types.ModuleType]:
    """The package's modules, without those that read the stack's configuration."""
    root = importlib.import_module(package)
    with warnings.catch_warnings():
        # Whoever merely imports a deprecated resource is warned.
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


def _shape(of: Any) -> Shape:
    """The shape of a type as the package's Python code has it."""
    if of in _SCALARS:
        return _SCALARS[of]
    origin, arguments = typing.get_origin(of), typing.get_args(of)
    if origin is collections.abc.Sequence:
        return "list", _shape(arguments[0])
    if origin is collections.abc.Mapping:
        return "map", _shape(arguments[1])
    if origin in (typing.Union, types.UnionType):
        # An Input[T] is a T, a promise of one, or an output; an asset or archive goes by the name of an asset.
        return _shape(arguments[0])
    if issubclass(of, enum.Enum):
        return "enum", sorted(member.value for member in of)
    if _types.is_input_type(of):
        return "object", {key: _shape(value) for key, value in _types.input_type_types(of).items()}
    return "object", {key: _shape(value) for key, value in _types.output_type_types(of).items()}


def served_shape(spec: dict[str, Any], schema: dict[str, Any]) -> Shape:
    """The shape of a type as a plugin's schema has it."""
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
    """The shapes of all properties as a plugin's schema has them."""
    return {key: served_shape(spec, schema) for key, spec in properties.items()}
