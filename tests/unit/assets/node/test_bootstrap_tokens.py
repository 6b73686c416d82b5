"""`bootstrap-tokens`, which keeps a bootstrap token valid for each node that has not joined yet."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.node.bootstrap import GROUP
from tests.support.node_programs import install


def node_object(name: str, ready: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": dict(annotations)},
        "status": {"conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": ready}]},
    }


def run_round(folder: Path, nodes: list[dict[str, Any]], tokens: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Run the program for one round. Return the Secrets that it applies, by name. The next round is within a minute."""
    fakes, token_folder, applied = folder / "bin", folder / "tokens", folder / "applied"
    fakes.mkdir()
    token_folder.mkdir()
    for node, text in tokens.items():
        (token_folder / node).write_text(text)
    answer, note = f'cat "{folder}/nodes.json"', f'echo "$@" >"{folder}/arguments"; cat >"{applied}"'
    kubectl = f'if [ "$1" = get ]; then {answer}; else {note}; fi'
    (folder / "nodes.json").write_text(json.dumps({"items": nodes}))
    for name, body in {"kubectl": kubectl, "systemd-notify": "", "sleep": 'test "$1" -le 60 && exit 7'}.items():
        (fakes / name).write_text(f"#!/bin/sh\n{body}\n")
        (fakes / name).chmod(0o755)
    result = subprocess.run(
        [install(folder / "programs") / "bootstrap-tokens", token_folder, GROUP],
        env={"PATH": f"{fakes}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 7, result.stderr
    shown = result.stdout + result.stderr + ((folder / "arguments").read_text() if applied.exists() else "")
    assert not [text for text in tokens.values() if text.partition(".")[2] in shown]
    if not applied.exists():
        return {}
    documents = list(yaml.safe_load_all(re.sub(r"^}$", "}\n---", applied.read_text(), flags=re.MULTILINE)))
    return {document["metadata"]["name"]: document for document in documents if document}


TOKEN_OF_1, TOKEN_OF_2 = "aaaaaa.0123456789abcdef", "bbbbbb.fedcba9876543210"


def test_a_new_node_gets_a_one_hour_token(tmp_path: Path) -> None:
    secrets = run_round(tmp_path, [], {"node-1": TOKEN_OF_1, "node-2": TOKEN_OF_2})
    assert set(secrets) == {"bootstrap-token-aaaaaa", "bootstrap-token-bbbbbb"}
    secret = secrets["bootstrap-token-aaaaaa"]
    assert (secret["metadata"]["namespace"], secret["type"]) == ("kube-system", "bootstrap.kubernetes.io/token")
    expiration = secret["stringData"].pop("expiration")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", expiration)
    assert secret["stringData"] == {
        "token-id": "aaaaaa",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": GROUP,
    }


def test_a_joined_node_gets_no_token(tmp_path: Path) -> None:
    nodes = [
        node_object("node-1", "True", {"hardway.dev/bootstrap-token": "aaaaaa"}),
        node_object("node-2", "True", {"hardway.dev/bootstrap-token": "bbbbbb"}),
    ]
    assert run_round(tmp_path, nodes, {"node-1": TOKEN_OF_1, "node-2": TOKEN_OF_2}) == {}


@pytest.mark.parametrize(
    ("ready", "annotations"),
    [("True", {}), ("Unknown", {"hardway.dev/bootstrap-token": "aaaaaa"})],
    ids=["the lab issued its certificate", "it is gone and may return as another machine"],
)
def test_a_node_gets_a_token_again(ready: str, annotations: dict[str, str], tmp_path: Path) -> None:
    nodes = [
        node_object("node-1", ready, annotations),
        node_object("node-2", "True", {"hardway.dev/bootstrap-token": "bbbbbb"}),
    ]
    secrets = run_round(tmp_path, nodes, {"node-1": TOKEN_OF_1, "node-2": TOKEN_OF_2})
    assert set(secrets) == {"bootstrap-token-aaaaaa"}
