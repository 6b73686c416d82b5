"""Configuration values that Pulumi holds as secret: they reach the nodes, and nothing shows them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from lab.config.parse import parse
from lab.config.schema import SchemaKey, project
from lab.config.secrets import KeyPath
from lab.secrets import KEYED, occurs_in
from tests.support.changes import default_configuration
from tests.support.payload import files
from tests.support.recording import Program, record

PLACES: Mapping[KeyPath, Any] = {
    ("containerd", "proxy_plugins", "x", "exports"): lambda secret: {"password": secret},
    # hosts.toml has it in base64.
    ("registries", 0, "password"): lambda secret: secret,
    ("files", "/etc/kubernetes/token"): lambda secret: {"text": f"token: {secret}\n", "service": "kubelet"},
    ("workers", 1, "files", "/etc/kubernetes/hook"): (
        lambda secret: {"text": secret, "onChange": "none", "service": "containerd"}
    ),
    ("kubelet", "staticPodURLHeader"): lambda secret: {"Authorization": [f"Bearer {secret}"]},
    ("workers", 0, "containerd", "stream_processors", "x"): lambda secret: {"env": [f'with "quotes" {secret}']},
    ("workers", 1, "kubelet", "allowedUnsafeSysctls"): lambda secret: [f"first\n{secret}"],
}
"""Paths to the functions that put a secret there."""


def secret_of(path: KeyPath) -> str:
    """Return the secret at a path."""
    return f"S3cret-{list(PLACES).index(path)}-4711"


def with_secrets(suffix: str = "") -> Program:
    """Run the program with a secret in every place."""
    values = default_configuration() | {"registries": [{"host": "r.example.com", "username": "user"}]}
    for path, value in PLACES.items():
        target: Any = values
        for part in path[:-1]:
            target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
        target[path[-1]] = value(secret_of(path) + suffix)
    return record(parse(values, map(text_path, PLACES)))


def text_path(path: KeyPath) -> KeyPath:
    """Return the path of the secret text at a path: the other fields of a file are not secret."""
    return (*path, "text") if "files" in path else path


@pytest.fixture(scope="module")
def configured() -> Program:
    """A run of the program with a secret in every place."""
    return with_secrets()


def accepting(schema: Mapping[str, SchemaKey], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys that accept secrets and are not always secret, without the free keys of objects."""
    for name, key in schema.items():
        if key.accepts_secret and not key.secret:
            yield (*prefix, name)
        yield from accepting((key.items or key.values or key).properties, (*prefix, name))


def test_every_key_that_accepts_secrets_is_tried() -> None:
    tried = {tuple(part for part in text_path(path) if isinstance(part, str) and part[0] != "/") for path in PLACES}
    for key in accepting(project().schema):
        # Both kinds of nodes have the same keys.
        if key[0] != "controlPlanes":
            assert [path for path in tried if path[: len(key)] == key], key


def test_secrets_reach_the_nodes(configured: Program) -> None:
    services = [command for command in configured.commands if command.name.endswith(("-containerd", "-kubelet"))]
    sent = json.dumps([files(command.inputs["stdin"]) for command in services])
    for path in PLACES:
        assert occurs_in(secret_of(path), sent)


def test_nothing_shows_a_secret(configured: Program) -> None:
    for resource in configured:
        shown = json.dumps(resource.shown)
        assert not [path for path in PLACES if occurs_in(secret_of(path), shown)], resource
    shown = json.dumps(configured.shown_outputs)
    assert not [path for path in PLACES if occurs_in(secret_of(path), shown)]


def test_settings_of_state_files_show_no_secret() -> None:
    kubelet = {"cpuManagerPolicy": "static", "reservedSystemCPUs": (cpus := "0-0,1-1,2-2")}
    run = record(parse(default_configuration() | {"kubelet": kubelet}, [("kubelet", "reservedSystemCPUs")]))
    assert cpus in files(run.command("node-0-kubelet").inputs["stdin"])["state-files"]
    assert not [resource for resource in run if cpus in json.dumps(resource.shown)]
    [settings] = run.by_identity["hardway:service:NodeService node-0-kubelet"].shown["stateFiles"].values()
    assert settings.startswith(KEYED)


def test_secret_file_shows_a_keyed_fingerprint(configured: Program, program: Program) -> None:
    containerd = configured.by_identity["hardway:service:NodeService node-1-containerd"]
    path = "/etc/containerd/config.toml"
    assert path not in containerd.inputs["files"]
    assert containerd.inputs["credentials"][path].startswith("HMAC-SHA256:")
    assert containerd.inputs["configHash"].startswith("HMAC-SHA256:")
    digests = configured.shown_outputs["services"]
    assert digests["node-1"]["containerd"].startswith("HMAC-SHA256:")
    assert digests["node-1"]["kube-proxy"] == program.shown_outputs["services"]["node-1"]["kube-proxy"]


def test_changed_secret_changes_only_its_files(configured: Program) -> None:
    changed = with_secrets("-new").changed_since(configured)
    services = {name.split()[1] for name in changed if name.startswith("hardway:service:")}
    assert services == {"node-0-containerd", "node-0-kubelet", "node-1-containerd", "node-1-kubelet"}


def test_node_gets_the_texts_to_hide(configured: Program, program: Program) -> None:
    path = next(iter(PLACES))
    assert secret_of(path) in files(configured.command("node-1-containerd").inputs["stdin"])["secrets"].splitlines()
    assert "secrets" not in files(program.command("node-1-containerd").inputs["stdin"])
