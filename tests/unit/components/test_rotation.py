"""The checks of a rotation in a preview and in an update."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.connection import ScriptError
from components.rotation import Rotation, RotationArgs
from lab.config.parse import parse
from lab.node.paths import SERVICE_ACCOUNT_KEYS
from lab.node.render import render
from lab.rotation import RotationError
from tests.support.certificates import pair

KEYS = SERVICE_ACCOUNT_KEYS
BOTH = {"issuers": {"service-accounts": ["key-2", "key-1"]}}


class FakeConnection:
    """A connection to a node that prints a document, or fails without one."""

    def __init__(self, document: Mapping[str, Any] | None) -> None:
        self._document = document
        self.scripts: list[str] = []

    async def execute(self, script: str) -> str:
        """Record the script and print the document."""
        self.scripts.append(script)
        if self._document is None:
            raise ScriptError("no route to host")
        return json.dumps(self._document)


def found(*kids: str) -> dict[str, Any]:
    """Return the document of a node whose pods have tokens of these keys."""
    tokens = [{"kid": kid, "holder": "pod default/web"} for kid in kids]
    return {"files": {KEYS: "key-1 one\nkey-2 two\n"}, "tokens": tokens, "published": {}}


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run without an engine, in an update."""
    for name in ("ResourceHook", "ResourceHookBinding", "ResourceHookOptions"):
        monkeypatch.setattr(
            pulumi, name, lambda *arguments, **keywords: SimpleNamespace(arguments=arguments, **keywords)
        )
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)


def check(
    values: Mapping[str, Any],
    recorded: Mapping[str, Any],
    connections: Mapping[str, FakeConnection],
    kubeconfigs: Sequence[Path] = (),
) -> None:
    """Check the configuration against what the state recorded."""
    spec = parse(dict(values))
    rotation = Rotation(
        RotationArgs(spec=spec, rendered=render(spec), connections=cast(Any, connections), user_kubeconfigs=kubeconfigs)
    )
    [hook] = rotation.hooks.before_update  # type: ignore[misc]
    _, run, _ = cast(Any, hook).arguments
    asyncio.run(run(SimpleNamespace(old_inputs=recorded)))


def lab(**documents: Mapping[str, Any] | None) -> dict[str, FakeConnection]:
    """Return the connections of the default stack, of which some nodes print something else."""
    nodes = {"server": found(), "node_0": found(), "node_1": found()} | documents
    return {name.replace("_", "-"): FakeConnection(document) for name, document in nodes.items()}


def test_adding_a_key_asks_no_node() -> None:
    connections = lab()
    check({"serviceAccountKeys": ["key-1", "key-2"]}, {}, connections)
    assert [each.scripts for each in connections.values()] == [[], [], []]


def test_a_preview_refuses_like_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    with pytest.raises(RotationError, match="must be trusted everywhere before it issues"):
        check({"serviceAccountKeys": ["key-2"]}, {}, {})
    with pytest.raises(RotationError, match=r"pod default/web has a token of key-1.* on node-1"):
        check({"serviceAccountKeys": ["key-2"]}, BOTH, lab(node_1=found("one")))


def test_a_preview_warns_of_a_node_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    warnings: list[str] = []
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    check({"serviceAccountKeys": ["key-2"]}, BOTH, lab(node_0=None))
    [warning] = warnings
    assert "node-0 cannot be read: no route to host\n`hardway up` checks the rotation before" in warning


def test_only_the_first_control_plane_reads_the_cluster() -> None:
    connections = lab()
    check({"serviceAccountKeys": ["key-2"]}, BOTH, connections)
    scopes = {name: each.scripts[0].split()[1] for name, each in connections.items()}
    assert scopes == {"server": "cluster", "node-0": "node", "node-1": "node"}


def test_an_old_token_on_any_node_refuses_the_last_step() -> None:
    check({"serviceAccountKeys": ["key-2"]}, BOTH, lab(node_1=found("two")))
    with pytest.raises(RotationError, match=r"pod default/web has a token of key-1.* on node-1"):
        check({"serviceAccountKeys": ["key-2"]}, BOTH, lab(node_1=found("two", "one")))


def test_a_node_that_does_not_answer_refuses_the_step() -> None:
    with pytest.raises(RotationError, match="node-0 cannot be read: no route to host\nNothing was changed"):
        check({"serviceAccountKeys": ["key-2"]}, BOTH, lab(node_0=None))


def test_a_node_that_does_not_exist_yet_is_not_asked() -> None:
    connections = lab()
    del connections["node-1"]
    check({"serviceAccountKeys": ["key-2"]}, BOTH, connections)
    del connections["server"]
    with pytest.raises(RotationError, match="the first control plane, server, does not exist yet"):
        check({"serviceAccountKeys": ["key-2"]}, BOTH, connections)


def test_a_kubeconfig_of_a_user_is_read(tmp_path: Path) -> None:
    kubeconfig, broken = tmp_path / "kubeconfig-alice", tmp_path / "kubeconfig-bob"
    certificate = base64.b64encode(pair("alice", issuer="hardway kubernetes CA")[0].encode()).decode()
    kubeconfig.write_text(json.dumps({"users": [{"user": {"client-certificate-data": certificate}}]}))
    broken.write_text("{}")
    recorded = {"issuers": {"kubernetes-ca": ["ca-2", "ca-1"]}}
    with pytest.raises(RotationError, match="kubeconfig-alice has a certificate of ca-1"):
        check({"certificateAuthorities": {"kubernetes": ["ca-2"]}}, recorded, lab(), [broken, kubeconfig])
