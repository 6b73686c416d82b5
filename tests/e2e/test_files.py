"""Configured files, documents of the API server and secrets on real nodes: put there, used, and removed."""

import json
from collections.abc import Iterator

import pytest

from tests.support.cluster import announced_restarts
from tests.support.running_lab import RunningLab

READ, UNREAD, HIDDEN, SHARED = (f"/etc/kubernetes/e2e/{name}" for name in ("read", "unread", "hidden", "shared"))
SECRET = "S3cret-of-the-files-stage-4711"
ISSUER = "https://issuer.example.com"
KEYS = {
    "files": {SHARED: {"text": "for all nodes\n"}},
    "sysctls": {"vm.max_map_count": 262144},
    "admission": {"plugins": [{"name": "PodSecurity", "configuration": {"defaults": {"enforce": "baseline"}}}]},
    "apiServerNames": ["api.example.com"],
    "apiServerFlags": {"service-account-issuer": ISSUER},
}
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}]},
}
FILES = {
    READ: {"text": "first\n", "service": "kubelet", "mode": "0640"},
    UNREAD: {"text": "first\n", "service": "containerd", "onChange": "none"},
    HIDDEN: {"text": SECRET, "service": "kubelet"},
}


@pytest.fixture(scope="module")
def stack_file(lab: RunningLab) -> Iterator[str]:
    """The text of the stack file before the tests of this stage."""
    path = lab.workspace.stack_file("dev")
    text = path.read_text()
    yield text
    path.write_text(text)


def test_files_and_documents_are_applied_in_one_up(lab: RunningLab, stack_file: str) -> None:
    assert stack_file
    workers = [one | ({"files": FILES} if one["name"] == "node-1" else {}) for one in lab.workers]
    lab.configure(workers=workers, **KEYS)
    index = [one["name"] for one in workers].index("node-1")
    key = f'hardway:workers[{index}].files["{HIDDEN}"].text'
    lab.run("pulumi", "config", "set", "--stack", "dev", "--secret", "--path", key, SECRET, record=False)
    preview = lab.preview()
    restarted = lab.restarts(lambda: lab.up())
    assert restarted == announced_restarts(preview) == {("node-1", "kubelet"), ("server", "kube-apiserver")}
    assert "containerd on node-1 will change, and nothing restarts: unread" in preview
    assert SECRET not in preview
    found = lab.ssh("node-1", "stat --printf '%a %n\\n' /etc/kubernetes/e2e/*; sysctl vm.max_map_count")
    assert f"640 {READ}" in found
    assert f"600 {HIDDEN}" in found
    assert "vm.max_map_count = 262144" in found
    assert SECRET in lab.ssh("node-1", f"cat {HIDDEN}", record=False)
    assert lab.ssh("node-0", "ls /etc/kubernetes/e2e").split() == ["shared"]
    assert lab.verify() == []


def test_api_server_uses_its_documents_and_names(lab: RunningLab) -> None:
    refused = lab.run("kubectl", "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(POD), check=False)
    assert "violates PodSecurity" in refused.stderr
    certificate = lab.ssh("server", "openssl x509 -noout -text -in /var/lib/kubernetes/kube-apiserver.crt")
    assert "api.example.com" in certificate
    assert ISSUER in lab.kubectl("get", "--raw", "/.well-known/openid-configuration")
    # CoreDNS still has a token of the former issuer.
    logs = lab.kubectl("-n", "kube-system", "logs", "-l", "k8s-app=kube-dns", "--tail=50")
    assert "Unauthorized" not in logs


def test_no_secret_is_in_the_state(lab: RunningLab) -> None:
    exported = lab.run("pulumi", "stack", "export", "--stack", "dev", record=False).stdout
    assert "HMAC-SHA256:" in exported
    assert SECRET not in exported
    state = "".join(path.read_text(errors="replace") for path in lab.workspace.state.rglob("*.json*") if path.is_file())
    assert SECRET not in state


def test_everything_is_removed_again(lab: RunningLab, stack_file: str) -> None:
    lab.workspace.stack_file("dev").write_text(stack_file)
    preview = lab.preview()
    restarted = lab.restarts(lambda: lab.up())
    assert restarted == announced_restarts(preview) == {("node-1", "kubelet"), ("server", "kube-apiserver")}
    for node in lab.nodes:
        assert lab.ssh(node, "find /etc/kubernetes/e2e -type f 2>/dev/null || true") == ""
    assert lab.verify() == []
