"""Whether a kubelet is healthy: what `assets/node/kubelet-healthy` makes of the answers that it gets."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.node.units import ASSETS
from tests.support.fake_programs import put

STARTED = 1_800_000_000
SINCE, BEFORE = "2027-01-15T08:00:00Z", "2027-01-15T07:59:59Z"
"""When the kubelet started, and a second earlier."""


def node(status: str, at: str, message: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "lastHeartbeatTime": at, "message": message}
    return {"kind": "Node", "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, ready]}}


SILENT = {"kind": "Node", "status": {"conditions": []}}
NO_NODE = {"kind": "Status", "status": "Failure", "message": "not found"}
READY = node("True", SINCE, "ready")


def ask(folder: Path, answer: Any = READY, journal: str = "", lacking: str = "", silent: str = "") -> tuple[int, str]:
    """Its exit code and what it says.

    answer: the API server's, of which text is no JSON. journal: what the kubelet noted. lacking: a file to leave out.
    silent: how the URL ends at which nobody answers.
    """
    (folder / "answer").write_text(answer if isinstance(answer, str) else json.dumps(answer))
    refused = f'*{silent or "//"}) echo "connection refused" >&2; exit 7 ;;'
    put(folder, "curl", f'case "$*" in {refused} *healthz) ;; *) cat {folder}/answer ;; esac')
    put(folder, "systemctl", f"echo ActiveEnterTimestamp=@{STARTED}; echo InvocationID=run")
    put(folder, "journalctl", f"echo '{journal}'")
    files = [folder / name for name in ("ca.crt", "kubelet.crt", "kubelet.key")]
    for file in files:
        if file.name != lacking:
            file.write_text("PEM")
    result = subprocess.run(
        [ASSETS / "node/kubelet-healthy", "node-0", "https://api:6443", *files],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout.strip()


def test_a_node_that_is_ready_since_the_kubelet_started_is_healthy(tmp_path: Path) -> None:
    assert ask(tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (node("False", SINCE, "no network"), "node node-0 is not Ready: no network"),
        (node("True", BEFORE, "ready"), "node node-0 was Ready before its kubelet started"),
        (SILENT, "node node-0 is not Ready: it never said so"),
        (NO_NODE, "the API server has no node node-0: not found"),
        ("Bad gateway", "https://api:6443 does not answer in JSON: Bad gateway"),
    ],
    ids=["not ready", "ready before", "silent", "no node", "no JSON"],
)
def test_what_is_wrong_is_said(tmp_path: Path, answer: Any, said: str) -> None:
    assert ask(tmp_path, answer) == (1, said)


def test_an_unknown_field_will_never_be_known(tmp_path: Path) -> None:
    code, said = ask(tmp_path, journal='using lenient decoding err="unknown field \\"maxPodz\\""')
    assert code == 3
    assert "does not know all of its configuration" in said
    assert "maxPodz" in said


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert ask(tmp_path, lacking="kubelet.crt") == (1, f"no {tmp_path}/kubelet.crt")


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        ("/nodes/node-0", "API server at https://api:6443 not reachable: connection refused"),
        ("/healthz", "http://127.0.0.1:10248/healthz does not answer"),
    ],
    ids=["API server", "kubelet"],
)
def test_who_does_not_answer_is_named(tmp_path: Path, silent: str, said: str) -> None:
    assert ask(tmp_path, silent=silent) == (1, said)
