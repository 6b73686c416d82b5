"""The commands that show a lab: status, render and explain."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import WORKERS
from tests.support.running_lab import RunningLab, wait_for


@pytest.fixture
def stopped_kube_proxy(lab: RunningLab) -> Iterator[str]:
    """A worker on which kube-proxy is stopped."""
    node = WORKERS[0]
    lab.ssh(node, "systemctl stop kube-proxy")
    yield node
    lab.ssh(node, "systemctl start kube-proxy")
    wait_for("kube-proxy runs again", lambda: lab.hardway("status").succeeded)


def test_status_lists_nodes_and_etcd(lab: RunningLab) -> None:
    status = lab.hardway("status")
    assert status.exit_code == 0, status.output
    for name in (*WORKERS, "server", "etcd"):
        assert name in status.output


def test_status_names_a_stopped_service(lab: RunningLab, stopped_kube_proxy: str) -> None:
    status = lab.hardway("status")
    assert status.exit_code == 1, status.output
    lines = status.output.splitlines()
    assert [line for line in lines if "kube-proxy" in line and stopped_kube_proxy in line], status.output


@pytest.mark.parametrize("node", ["server", *WORKERS])
def test_render_equals_the_files_on_the_node(lab: RunningLab, node: str, tmp_path: Path) -> None:
    rendered = lab.hardway("render", node, str(tmp_path), "--json")
    assert rendered.succeeded, rendered.output
    services = json.loads(rendered.stdout)["nodes"][node]["services"]
    # Credentials are placeholders, and transient files exist on the node only for a while.
    paths = {
        entry["path"]
        for service in services
        for entry in service["entries"]
        if entry["kind"] == "file" and entry["effect"] != "transient"
    }
    assert {"/etc/systemd/system/node-setup.service"} < paths
    digests = lab.ssh(node, f"sha256sum -- {' '.join(sorted(paths))}").splitlines()
    on_node = {path: digest for digest, path in map(str.split, digests)}
    assert on_node == {
        path: hashlib.sha256((tmp_path / node / path.lstrip("/")).read_bytes()).hexdigest() for path in paths
    }


def test_explain_names_the_key_of_a_field(lab: RunningLab) -> None:
    with lab.configured(kubelet={"maxPods": 64}):
        explained = lab.hardway("explain", WORKERS[1], "kubelet", "maxPods")
    assert explained.succeeded, explained.output
    assert "kubelet.maxPods" in explained.output
    assert "64" in explained.output
