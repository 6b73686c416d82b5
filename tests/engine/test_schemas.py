"""Each plugin has the resources, functions and types that its Python package knows."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.support import published
from tests.support.engine_plugins import PLUGINS

RESOURCES = [(plugin, token) for plugin in sorted(PLUGINS) for token in sorted(published.resources(f"pulumi_{plugin}"))]
FUNCTIONS = [(plugin, token) for plugin in sorted(PLUGINS) for token in sorted(published.functions(f"pulumi_{plugin}"))]


# The differences between a plugin and its Python package. Everything else must be equal.
#
# pulumi-tls 5.6 knows write-only keys. The newest release of the provider that exists as a Go module (4.2.1) does not
# know them, and requires the normal key.
WRITE_ONLY = {
    "tls:index/certRequest:CertRequest": "privateKeyPem",
    "tls:index/locallySignedCert:LocallySignedCert": "caPrivateKeyPem",
    "tls:index/selfSignedCert:SelfSignedCert": "privateKeyPem",
}
# The provider of pulumi-libvirt 0.5.4 has one field that the package does not know.
UNKNOWN_FIELD = ("libvirt:index/domain:Domain", "networkInterfaces", "private")


@cache
def _schema(engine: Path, plugin: str) -> dict[str, Any]:
    command = [str(engine), "package", "get-schema", f"{plugin}@{PLUGINS[plugin]}"]
    schema: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return schema


def _served_resource(engine: Path, plugin: str, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    schema = _schema(engine, plugin)
    if token.startswith("pulumi:providers:"):
        return schema, {"inputProperties": {}, **schema.get("provider", {})}
    return schema, schema["resources"][token]


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_plugin_version_equals_the_package_version(engine: Path, plugin: str) -> None:
    assert _schema(engine, plugin)["version"] == PLUGINS[plugin]


@pytest.mark.parametrize("plugin", sorted(PLUGINS))
def test_plugin_has_the_package_resources_and_functions(engine: Path, plugin: str) -> None:
    schema = _schema(engine, plugin)
    provider = f"pulumi:providers:{plugin}"
    assert {*schema["resources"], provider} == set(published.resources(f"pulumi_{plugin}"))
    # A schema lists the methods of a provider among its functions, but they are not functions in Python.
    functions = {token for token in schema.get("functions", {}) if not token.startswith(provider)}
    assert functions == set(published.functions(f"pulumi_{plugin}"))


@pytest.mark.parametrize(("plugin", "token"), RESOURCES)
def test_resource_inputs_match_the_package(engine: Path, plugin: str, token: str) -> None:
    schema, served = _served_resource(engine, plugin, token)
    known = published.resources(f"pulumi_{plugin}")[token]
    required = known.required | ({WRITE_ONLY[token]} if token in WRITE_ONLY else set())
    assert _shapes(token, served["inputProperties"], schema) == _without_write_only(token, known.inputs)
    assert set(served.get("requiredInputs", [])) == required


@pytest.mark.parametrize(("plugin", "token"), RESOURCES)
def test_resource_outputs_match_the_package(engine: Path, plugin: str, token: str) -> None:
    schema, served = _served_resource(engine, plugin, token)
    known = published.resources(f"pulumi_{plugin}")[token]
    if not token.startswith("pulumi:providers:"):
        assert _shapes(token, served["properties"], schema) == _without_write_only(token, known.outputs)


def _without_write_only(token: str, known: dict[str, published.Shape]) -> dict[str, published.Shape]:
    if token not in WRITE_ONLY:
        return known
    missing = {f"{WRITE_ONLY[token]}Wo", f"{WRITE_ONLY[token]}WoVersion"}
    assert missing <= set(known)
    return {key: shape for key, shape in known.items() if key not in missing}


def _shapes(token: str, properties: dict[str, Any], schema: dict[str, Any]) -> dict[str, published.Shape]:
    shapes = published.served_shapes(properties, schema)
    unknown_in, key, field = UNKNOWN_FIELD
    if token == unknown_in:
        elements: Any = shapes[key]  # a list of objects
        del elements[1][1][field]
    return shapes


@pytest.mark.parametrize(("plugin", "token"), FUNCTIONS)
def test_functions_match_the_package(engine: Path, plugin: str, token: str) -> None:
    schema = _schema(engine, plugin)
    served = schema["functions"][token]
    known = published.functions(f"pulumi_{plugin}")[token]
    returned = published.served_shapes(served["outputs"]["properties"], schema)
    assert set(served.get("inputs", {}).get("properties", {})) == known.arguments
    assert {key: shape for key, shape in returned.items() if key != "id"} == {
        key: shape for key, shape in known.returned.items() if key != "id"
    }
