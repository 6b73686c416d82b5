"""The commands that show a lab or a change, and the one that gives a user access."""

import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.pki import ADMIN_USER, CLUSTER_ADMINS_GROUP
from tests.support.cluster import WORKERS
from tests.support.running_lab import RunningLab, wait_for


@pytest.fixture
def stopped_kube_proxy(lab: RunningLab) -> Iterator[str]:
    """A worker on which kube-proxy is stopped."""
    node = WORKERS[0]
    lab.ssh(node, "systemctl stop kube-proxy")
    yield node
    lab.ssh(node, "systemctl start kube-proxy")
    wait_for("no problem in the lab", lambda: lab.hardway("status").succeeded)


def test_status_lists_nodes_and_etcd(lab: RunningLab) -> None:
    status = lab.hardway("status", "--json")
    assert status.exit_code == 0, status.output
    document = json.loads(status.stdout)
    assert document["problems"] == []
    assert {node["name"] for node in document["nodes"]} == {"server", *WORKERS}
    assert [member["member"] for member in document["etcd"]] == ["server"]
    shown = lab.hardway("status")
    assert shown.exit_code == 0, shown.output
    for name in ("server", *WORKERS, "etcd"):
        assert name in shown.output


def test_status_names_a_stopped_service(lab: RunningLab, stopped_kube_proxy: str) -> None:
    status = lab.hardway("status")
    assert status.exit_code == 1, status.output
    lines = status.output.splitlines()
    assert [line for line in lines if "kube-proxy" in line and stopped_kube_proxy in line], status.output


def test_nothing_fails_while_a_kubelet_restarts(lab: RunningLab) -> None:
    first, second = lab.workers
    try:
        with lab.configured(workers=[first, second | {"kubelet": {"maxPods": 50}}]), lab.probe() as report:
            outcome = lab.hardway("up")
    finally:
        assert lab.up().succeeded
    assert outcome.succeeded, outcome.output
    assert {(started["node"], started["service"]) for started in report["services"]} == {(second["name"], "kubelet")}
    assert [target for target in report["targets"] if target["failures"] or not target["requests"]] == []
    assert {target["from"] for target in report["targets"]} == {"this machine", *WORKERS}
    assert (report["pods"], report["notes"]) == ([], [])
    assert "hardway-probe" not in lab.kubectl("get", "namespaces", "--output=name")


@pytest.mark.parametrize("node", ["server", *WORKERS])
def test_render_equals_the_files_on_the_node(lab: RunningLab, node: str, tmp_path: Path) -> None:
    rendered = lab.hardway("render", node, str(tmp_path))
    assert rendered.succeeded, rendered.output
    # Credentials are placeholders, and a transient file is on the node only until it is applied.
    rows = [line.split("  ") for line in (tmp_path / node / "services").read_text().splitlines()]
    paths = sorted({row[5] for row in rows if row[1] == "file" and row[2] != "transient"})
    assert "/etc/systemd/system/node-setup.service" in paths
    digests = lab.ssh(node, f"sha256sum -- {' '.join(paths)}").splitlines()
    on_node = {path: digest for digest, path in map(str.split, digests)}
    assert on_node == {
        path: hashlib.sha256((tmp_path / node / path.lstrip("/")).read_bytes()).hexdigest() for path in paths
    }


def test_explain_names_the_key_of_a_field(lab: RunningLab) -> None:
    with lab.configured(kubelet={"maxPods": 64}):
        explained = lab.hardway("explain", WORKERS[1], "kubelet", "maxPods")
    assert explained.succeeded, explained.output
    assert "maxPods: 64" in explained.output
    assert "hardway:kubelet.maxPods" in explained.output


@pytest.fixture
def viewers(lab: RunningLab) -> Iterator[str]:
    """A group that is bound to the role `view`."""
    lab.kubectl("create", "clusterrolebinding", "e2e-viewers", "--clusterrole=view", "--group=e2e-viewers")
    yield "e2e-viewers"
    lab.kubectl("delete", "clusterrolebinding", "e2e-viewers")


def test_user_has_the_rights_of_its_group(lab: RunningLab, viewers: str, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    created = lab.hardway(
        "access", "--user", "alice", "--group", "testers", "--group", viewers, "--hours", "1", "--output", str(file)
    )
    assert created.succeeded, created.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    as_alice = f"--kubeconfig={file}"
    user = json.loads(lab.kubectl(as_alice, "auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert (user["username"], {"testers", viewers} <= set(user["groups"])) == ("alice", True)
    # An API server learns of a new binding a moment after it is created.
    pods = ("get", "pods", "--all-namespaces", "--output=name")
    wait_for("a list of pods", lambda: lab.kubectl(as_alice, *pods, check=False).strip() != "")
    refused = lab.run("kubectl", as_alice, "get", "secrets", "--all-namespaces", check=False)
    assert refused.returncode != 0
    assert 'User "alice" cannot list resource "secrets"' in refused.stderr
    assert "hardway-access" not in lab.kubectl("get", "certificatesigningrequests", "--output=name")


def test_rights_of_the_administrator_end_with_its_binding(lab: RunningLab) -> None:
    user = json.loads(lab.kubectl("auth", "whoami", "--output=json"))["status"]["userInfo"]
    assert (user["username"], CLUSTER_ADMINS_GROUP in user["groups"]) == (ADMIN_USER, True)
    assert "system:masters" not in user["groups"]
    super_admin = f"--kubeconfig={lab.workspace.super_admin_kubeconfig(lab.stack)}"
    lab.kubectl(super_admin, "delete", "clusterrolebinding", CLUSTER_ADMINS_GROUP)
    wait_for("a refusal", lambda: "Forbidden" in lab.run("kubectl", "get", "nodes", check=False).stderr)
    assert any(CLUSTER_ADMINS_GROUP in f"{found}" for found in lab.verify())
    # The program itself needs no binding.
    up = lab.hardway("up")
    assert up.succeeded, up.output
    assert "does not answer" not in up.output
    wait_for("a list of nodes", lambda: lab.kubectl("get", "nodes", "--output=name", check=False).strip() != "")
    assert lab.verify() == []


def test_a_change_beyond_the_limit_is_refused(lab: RunningLab) -> None:
    before = lab.invocations()
    with lab.configured(maxDisruption="reload", kubelet={"maxPods": 64}):
        preview = lab.hardway("preview", "--json")
        assert preview.exit_code == 3, preview.output
        document = json.loads(preview.stdout)
        assert (document["disruption"], document["maxDisruption"]) == ("restart", "reload")
        assert {(each["node"], each["service"]) for each in document["beyond"]} == {
            (node, "kubelet") for node in WORKERS
        }
        for command in ("preview", "up"):
            refused = lab.hardway(command)
            assert refused.exit_code == 3, refused.output
            for node in WORKERS:
                assert f"kubelet on {node}: restart (kubelet-config.yaml)" in refused.stderr
        plain = lab.run("pulumi", "preview", "--stack", lab.stack, "--non-interactive", check=False)
        assert plain.returncode != 0
        assert "hardway:maxDisruption allows at most reload" in plain.stdout + plain.stderr
        allowed = lab.hardway("preview", "--markdown", "--max-disruption", "restart")
        assert allowed.exit_code == 0, allowed.output
        assert "| kubelet | node-0, node-1 | restart | kubelet-config.yaml |" in allowed.stdout
    assert lab.invocations() == before
    assert lab.planned() == {}
