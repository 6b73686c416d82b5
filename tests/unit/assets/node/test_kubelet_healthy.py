"""`assets/node/kubelet-healthy` with fake answers of the kubelet, the API server and systemd."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install

STARTED = 1_800_000_000
SINCE, BEFORE = "2027-01-15T08:00:00Z", "2027-01-15T07:59:59Z"
"""The time at which the kubelet started, and one second before it."""


def node(status: str, at: str, message: str) -> dict[str, Any]:
    ready = {"type": "Ready", "status": status, "lastHeartbeatTime": at, "message": message}
    return {"kind": "Node", "status": {"conditions": [{"type": "DiskPressure", "status": "False"}, ready]}}


SILENT = {"kind": "Node", "status": {"conditions": []}}
NO_NODE = {"kind": "Status", "status": "Failure", "message": "not found"}
READY = node("True", SINCE, "ready")


def check(
    folder: Path, answer: Any = READY, journal: str = "", missing: str = "", silent: str = "", network: str = ""
) -> tuple[int, str]:
    """Return the exit code and output.

    Args:
        folder: The folder of the fake programs and the certificates.
        answer: The API server's answer, a text if it is not JSON.
        journal: The text that the kubelet logged.
        missing: The name of a certificate file to leave out.
        silent: The end of a URL that does not answer.
        network: The optional argument about the pods' network.
    """
    (folder / "answer").write_text(answer if isinstance(answer, str) else json.dumps(answer))
    refused = f'*{silent or "//"}) echo "connection refused" >&2; exit 7 ;;'
    put(folder, "curl", f'case "$*" in {refused} *healthz) ;; *) cat {folder}/answer ;; esac')
    put(folder, "systemctl", f"echo ActiveEnterTimestamp=@{STARTED}; echo InvocationID=run")
    put(folder, "journalctl", f"echo '{journal}'")
    files = [folder / name for name in ("ca.crt", "kubelet.crt", "kubelet.key")]
    for file in files:
        if file.name != missing:
            file.write_text("PEM")
    result = subprocess.run(
        [install(folder / "node") / "kubelet-healthy", "node-0", "https://api:6443", *files, *network.split()],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout.strip()


def test_node_ready_since_kubelet_start_is_healthy(tmp_path: Path) -> None:
    assert check(tmp_path) == (0, "")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (node("False", SINCE, "no network"), "Node node-0 is not Ready: no network"),
        (node("True", BEFORE, "ready"), "Node node-0 has not reported that it is Ready since its kubelet started."),
        (SILENT, "Node node-0 is not Ready: it has not reported yet"),
        (NO_NODE, "The API server has no node node-0: not found"),
        ("Bad gateway", "The answer of https://api:6443 is not JSON: Bad gateway"),
    ],
    ids=["not ready", "ready before", "silent", "no node", "no JSON"],
)
def test_problem_of_node_is_reported(tmp_path: Path, answer: Any, message: str) -> None:
    assert check(tmp_path, answer) == (1, message)


NO_NETWORK = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:no plugin"


def test_node_may_lack_only_a_cni_plugin(tmp_path: Path) -> None:
    assert check(tmp_path, node("False", SINCE, NO_NETWORK), network="any-network") == (0, "")
    assert check(tmp_path, network="any-network") == (0, "")


@pytest.mark.parametrize(
    ("answer", "network", "message"),
    [
        (node("False", SINCE, NO_NETWORK), "", f"Node node-0 is not Ready: {NO_NETWORK}"),
        (node("False", SINCE, f"[{NO_NETWORK}, no disk]"), "any-network", "Node node-0 is not Ready: [container"),
        (node("False", BEFORE, NO_NETWORK), "any-network", "has not reported that it is Ready since its kubelet"),
    ],
    ids=["lab's own network", "another reason", "reported before"],
)
def test_node_must_lack_nothing_else(tmp_path: Path, answer: Any, network: str, message: str) -> None:
    code, output = check(tmp_path, answer, network=network)
    assert code == 1
    assert message in output


def test_unknown_field_exits_with_code_3(tmp_path: Path) -> None:
    code, message = check(tmp_path, journal='using lenient decoding err="unknown field \\"maxPodz\\""')
    assert code == 3
    assert "does not know a field of its configuration" in message
    assert "maxPodz" in message


def test_missing_certificate_is_named(tmp_path: Path) -> None:
    assert check(tmp_path, missing="kubelet.crt") == (1, f"The file {tmp_path}/kubelet.crt does not exist or is empty.")


@pytest.mark.parametrize(
    ("silent", "message"),
    [
        ("/nodes/node-0", "The API server at https://api:6443 is not reachable: connection refused"),
        ("/healthz", "http://127.0.0.1:10248/healthz does not answer."),
    ],
    ids=["API server", "kubelet"],
)
def test_silent_endpoint_is_named(tmp_path: Path, silent: str, message: str) -> None:
    assert check(tmp_path, silent=silent) == (1, message)
