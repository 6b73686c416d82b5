"""`assets/node/credentials-in-use` on a node in a folder, with a fake kubectl."""

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN EC PRIVATE KEY-----\nhidden\n-----END EC PRIVATE KEY-----\n"


def token(kid: str, pod: str = "") -> str:
    """Return a token of a pod in the namespace default; without a pod, one of a Secret."""
    claims = {"kubernetes.io": {"namespace": "default", "pod": {"name": pod}}} if pod else {"note": "??>>"}
    return signed(json.dumps({"kid": kid}), json.dumps(claims))


def signed(header: str, payload: str) -> str:
    """Return a token of a header and a payload."""
    parts = (base64.urlsafe_b64encode(part.encode()).decode() for part in (header, payload))
    return ".".join([*(part.rstrip("=") for part in parts), "signature"])


def mounted(root: Path, pod: str, name: str, text: str) -> None:
    """Write a file into a projected volume of a pod, as the kubelet does."""
    volume = root / f"var/lib/kubelet/pods/{pod}/volumes/kubernetes.io~projected/access"
    (volume / "..1").mkdir(parents=True, exist_ok=True)
    (volume / "..1" / name).write_text(text)
    (volume / "..data").symlink_to("..1")
    (volume / name).symlink_to(f"..data/{name}")


def run(root: Path, scope: str, *paths: str, secret_token: str = "") -> tuple[str, Any]:
    """Return the output of the program as text and as a document."""
    programs = install(root / "programs", root=root)
    secret = {"metadata": {"namespace": "default", "name": "legacy"}}
    secret["data"] = {"token": base64.b64encode((secret_token or token("two")).encode()).decode()}
    configmap = {"metadata": {"namespace": "default"}, "data": {"ca.crt": CERTIFICATE}}
    answers = {"secrets": {"items": [secret]}, "configmaps": {"items": [configmap]}}
    for name, answer in answers.items():
        (root / name).write_text(json.dumps(answer))
    (root / "bin").mkdir()
    put(root / "bin", "kubectl", f'cat "{root}/$2"')
    environment = {**os.environ, "PATH": f"{root}/bin:{os.environ['PATH']}"}
    command = [str(programs / "credentials-in-use"), scope, *paths]
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return result.stdout + result.stderr, json.loads(result.stdout)


def test_only_certificates_and_key_ids_of_files_are_printed(tmp_path: Path) -> None:
    pair, keys = tmp_path / "pair.pem", tmp_path / "service-accounts.pub"
    pair.write_text(f"{CERTIFICATE}{KEY}")
    keys.write_text("key-1 Abc_-9\n-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n")
    output, document = run(tmp_path, "node", str(pair), str(keys), f"{tmp_path}/absent")
    assert document["files"] == {str(pair): CERTIFICATE, str(keys): "key-1 Abc_-9\n", f"{tmp_path}/absent": ""}
    assert "hidden" not in output


def test_every_token_of_a_pod_is_found(tmp_path: Path) -> None:
    mounted(tmp_path, "1", "token", token("one", "web"))
    mounted(tmp_path, "2", "vault-token", f"{token('two', 'vault')}\n")
    mounted(tmp_path, "3", "ca.crt", CERTIFICATE)
    output, document = run(tmp_path, "node")
    found = sorted((each["kid"], each["holder"]) for each in document["tokens"])
    assert found == [("one", "pod default/web"), ("two", "pod default/vault")]
    assert "signature" not in output


@pytest.mark.parametrize(
    "payload",
    [
        "internal, no JSON",
        '"internal"',
        '{"iss": "internal"}',
        '{"kubernetes.io": "internal"}',
        '{"kubernetes.io": {}}',
    ],
)
def test_a_token_of_another_issuer_is_ignored(payload: str, tmp_path: Path) -> None:
    mounted(tmp_path, "1", "license", signed('{"alg": "RS256"}', payload))
    mounted(tmp_path, "2", "token", token("one", "web"))
    output, document = run(tmp_path, "node")
    assert [each["kid"] for each in document["tokens"]] == ["one"]
    assert "internal" not in output


def test_a_secret_without_a_valid_token_is_ignored(tmp_path: Path) -> None:
    output, document = run(tmp_path, "cluster", secret_token=signed("internal, no JSON", "{}"))
    assert document["tokens"] == []
    assert "internal" not in output


def test_a_node_without_pods_has_no_token(tmp_path: Path) -> None:
    assert run(tmp_path, "node")[1] == {"files": {}, "tokens": [], "published": {}}


def test_a_control_plane_reads_the_cluster(tmp_path: Path) -> None:
    output, document = run(tmp_path, "cluster")
    assert document["tokens"] == [{"kid": "two", "holder": "Secret default/legacy"}]
    assert document["published"] == {"default": CERTIFICATE}
    assert "signature" not in output
