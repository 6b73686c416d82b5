"""Configured files, documents of the API server and secrets on real nodes: put there, used, rolled back and removed."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster import PRIVILEGED_POD, announced_restarts
from tests.support.running_lab import Outcome, RunningLab, wait_for_text

READ, UNREAD, HIDDEN, SHARED, COPIED, BROKEN = (
    f"/etc/kubernetes/e2e/{name}" for name in ("read", "unread", "hidden", "shared", "copied", "broken")
)
PROJECT_FILE = "e2e-file.txt"
"""A file of the project. Its path is relative to Pulumi.yaml."""
SECRET = "S3cret-of-the-files-stage-4711"
ISSUER = "https://issuer.example.com"
KEYS: dict[str, Any] = {
    "files": {SHARED: {"text": "for all nodes\n"}},
    "sysctls": {"vm.max_map_count": 262144},
    "admission": {"plugins": [{"name": "PodSecurity", "configuration": {"defaults": {"enforce": "baseline"}}}]},
    "auditPolicy": {
        "rules": [
            {"level": "Request", "namespaces": ["default"], "resources": [{"group": "", "resources": ["configmaps"]}]},
            {"level": "None"},
        ]
    },
    "authentication": {"anonymous": {"enabled": True, "conditions": [{"path": "/livez"}]}},
    "authorization": {"authorizers": [{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}]},
    "apiServerNames": ["api.example.com"],
    "apiServerFlags": {"service-account-issuer": ISSUER},
}
BROKEN_JWT = {
    "issuer": {"url": "https://issuer.example.com", "audiences": ["lab"]},
    "claimMappings": {"username": {"expression": "claims.["}},
}
FILES = {
    READ: {"text": "first\n", "service": "kubelet", "mode": "0640"},
    UNREAD: {"text": "first\n", "service": "containerd", "onChange": "none"},
    HIDDEN: {"text": SECRET, "service": "kubelet"},
    COPIED: {"file": PROJECT_FILE, "service": "kubelet", "onChange": "none"},
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
    (lab.checkout / PROJECT_FILE).write_text("from the project\n")
    workers = [one | ({"files": FILES} if one["name"] == "node-1" else {}) for one in lab.workers]
    lab.configure(workers=workers, **KEYS)
    index = [one["name"] for one in workers].index("node-1")
    key = f'hardway:workers[{index}].files["{HIDDEN}"].text'
    lab.run("pulumi", "config", "set", "--stack", "dev", "--secret", "--path", key, SECRET, record=False)
    preview = lab.preview()
    outcomes: list[Outcome] = []
    restarted = lab.restarts(lambda: outcomes.append(lab.up()))
    assert outcomes[0].succeeded, outcomes[0].output
    assert restarted == announced_restarts(preview) == {("node-1", "kubelet"), ("server", "kube-apiserver")}
    assert "containerd on node-1 will change, and nothing restarts: unread" in preview
    assert SECRET not in preview
    found = lab.ssh("node-1", "stat --printf '%a %n\\n' /etc/kubernetes/e2e/*; sysctl vm.max_map_count")
    assert f"640 {READ}" in found
    assert f"600 {HIDDEN}" in found
    assert "vm.max_map_count = 262144" in found
    assert lab.ssh("node-1", f"cat {COPIED}") == "from the project\n"
    assert SECRET in lab.ssh("node-1", f"cat {HIDDEN}", record=False)
    assert lab.ssh("node-0", "ls /etc/kubernetes/e2e").split() == ["shared"]
    assert lab.verify() == []


def test_api_server_uses_its_documents_and_names(lab: RunningLab) -> None:
    refused = lab.run("kubectl", "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(PRIVILEGED_POD), check=False)
    assert "violates PodSecurity" in refused.stderr
    certificate = lab.ssh("server", "openssl x509 -noout -text -in /var/lib/kubernetes/kube-apiserver.crt")
    assert "api.example.com" in certificate
    assert ISSUER in lab.kubectl("get", "--raw", "/.well-known/openid-configuration")
    # CoreDNS still has a token of the former issuer.
    logs = lab.kubectl("-n", "kube-system", "logs", "-l", "k8s-app=kube-dns", "--tail=50")
    assert "Unauthorized" not in logs


def test_audit_log_follows_its_policy(lab: RunningLab) -> None:
    lab.kubectl("create", "configmap", "audited", "--namespace=default", "--from-literal=text=in-the-audit-log")
    lab.kubectl("delete", "configmap", "audited", "--namespace=default")
    logged = 'grep \'"name":"audited"\' /var/log/kubernetes/audit.log | grep \'"verb":"create"\''
    wait_for_text("in-the-audit-log", lambda: lab.ssh("server", f"{logged} || tail -n 3 /var/log/kubernetes/audit.log"))
    event = json.loads(lab.ssh("server", logged).splitlines()[-1])
    assert (event["level"], event["requestObject"]["data"]) == ("Request", {"text": "in-the-audit-log"})


def test_only_the_configured_path_is_anonymous(lab: RunningLab) -> None:
    server = f"https://{lab.nodes['server']['address']}:6443"
    status = {
        path: lab.ssh("server", f"curl -sk --max-time 60 -o /dev/null -w %{{http_code}} {server}{path}")
        for path in ("/livez", "/version")
    }
    assert status == {"/livez": "200", "/version": "401"}


def test_configured_authorizers_decide(lab: RunningLab) -> None:
    assert "--authorization-config=" in documents(lab)
    metrics = lab.kubectl("get", "--raw", "/metrics").splitlines()
    decisions = [line for line in metrics if line.startswith("apiserver_authorization_decisions_total{")]
    for name in ("node", "rbac"):
        assert any(f'name="{name}"' in line for line in decisions), decisions


def documents(lab: RunningLab) -> str:
    """Return the digests of the API server's files and its command line."""
    return lab.ssh(
        "server",
        "sha256sum /etc/kubernetes/*.yaml; ls /etc/kubernetes/e2e; tr '\\0' ' ' </proc/$(pidof kube-apiserver)/cmdline",
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        # The lab checks the names and values of fields, but does not compile expressions.
        ({"authentication": {"jwt": [BROKEN_JWT]}}, "claimMappings.username.expression"),
        (
            {
                "apiServerFlags": {"service-account-issuer": ISSUER, "audit-webhook-config-file": BROKEN},
                "files": {**KEYS["files"], BROKEN: {"file": PROJECT_FILE, "service": "kube-apiserver"}},
            },
            BROKEN,
        ),
    ],
    ids=["document", "file"],
)
def test_api_server_that_refuses_its_files_is_rolled_back(lab: RunningLab, values: dict[str, Any], reason: str) -> None:
    before = documents(lab)
    with lab.configured(**values):
        outcome = lab.up()
    assert not outcome.succeeded
    assert "kube-apiserver on server: " in outcome.output
    assert reason in outcome.output
    assert "The previous version was rolled back and is healthy." in outcome.output
    assert documents(lab) == before


def test_no_secret_is_in_the_state(lab: RunningLab) -> None:
    exported = lab.run("pulumi", "stack", "export", "--stack", "dev", record=False).stdout
    assert "HMAC-SHA256:" in exported
    assert SECRET not in exported
    state = "".join(path.read_text(errors="replace") for path in lab.workspace.state.rglob("*.json*") if path.is_file())
    assert SECRET not in state


def test_everything_is_removed_again(lab: RunningLab, stack_file: str) -> None:
    lab.workspace.stack_file("dev").write_text(stack_file)
    (lab.checkout / PROJECT_FILE).unlink()
    preview = lab.preview()
    restarted = lab.restarts(lambda: lab.up())
    assert restarted == announced_restarts(preview) == {("node-1", "kubelet"), ("server", "kube-apiserver")}
    for node in lab.nodes:
        assert lab.ssh(node, "find /etc/kubernetes/e2e -type f 2>/dev/null || true") == ""
    assert lab.verify() == []
