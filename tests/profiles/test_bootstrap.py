"""Kubelets join with a bootstrap token that is deleted afterwards; ipvs mode; configured paths and owners."""

import pytest

from tests.support.cluster import ready
from tests.support.profile import EveryLab
from tests.support.running_lab import RunningLab

NODES = {"cp1", "cp2", "worker1"}
OWNED = "/etc/kubernetes/owned"
"""A configured file of the system user."""


def smaller(lab: RunningLab) -> None:
    """Add a file. Use fewer and smaller VMs and fewer ipvs syncs, because two emulated CPUs must be enough."""
    values = lab.configuration
    (lab.checkout / "owned.txt").write_text("from the project\n")
    owned = {"file": "owned.txt", "mode": "0640", "owner": "kubernetes:kubernetes", "service": "kubelet"}
    lab.configure(
        files={OWNED: owned},
        workers=[{**node, "memory": 1024} for node in values["workers"][:1]],
        kubeProxy=values["kubeProxy"] | {"ipvs": values["kubeProxy"]["ipvs"] | {"minSyncPeriod": "20s"}},
    )


def test_every_node_is_ready(lab: RunningLab) -> None:
    assert ready(lab) == NODES


def test_cluster_issued_the_client_certificates(lab: RunningLab) -> None:
    for node in NODES:
        shown = lab.ssh(node, "openssl x509 -noout -subject -in /etc/kubernetes/pki/kubelet-client-current.pem")
        assert f"system:node:{node}" in shown
    assert lab.kubectl("get", "certificatesigningrequests", "--output=name").count("\n") >= len(NODES)


def test_used_tokens_are_deleted(lab: RunningLab) -> None:
    kind = "--field-selector=type=bootstrap.kubernetes.io/token"
    assert lab.kubectl("--namespace=kube-system", "get", "secrets", kind, "--output=name") == ""
    for node in NODES:
        assert lab.ssh(node, "ls /run/hardway/bootstrap-token 2>/dev/null || true") == ""


def test_folders_and_system_user_are_as_configured(lab: RunningLab) -> None:
    for node in NODES:
        shown = lab.ssh(node, "stat --printf '%a %U:%G %n\\n' /etc/kubernetes /etc/kubernetes/pki /run/kubernetes")
        assert shown.splitlines() == [
            "755 kubernetes:kubernetes /etc/kubernetes",
            "700 kubernetes:kubernetes /etc/kubernetes/pki",
            "755 kubernetes:kubernetes /run/kubernetes",
        ]
        assert lab.ssh(node, "stat --printf %G /run/containerd/containerd.sock") == "kubernetes"
        assert lab.ssh(node, "ls /usr/local/sbin/kubelet /usr/local/sbin/kube-proxy").count("\n") == 2


def test_file_belongs_to_the_system_user(lab: RunningLab) -> None:
    for node in NODES:
        shown = lab.ssh(node, f"stat --printf '%a %U:%G\\n' {OWNED}; cat {OWNED}")
        assert shown.splitlines() == ["640 kubernetes:kubernetes", "from the project"]


def test_ipvs_balances_services(lab: RunningLab) -> None:
    for node in NODES:
        assert "10.32.0.1:443" in lab.ssh(node, "ipvsadm --list --numeric")


class TestLab(EveryLab):
    """The tests of every lab."""

    @pytest.mark.drawn(among="modes of kube-proxy")
    def test_pods_and_services_work(self, lab: RunningLab) -> None:
        super().test_pods_and_services_work(lab)


@pytest.mark.drawn(among="modes of kube-proxy")
def test_nftables_replaces_ipvs(lab: RunningLab) -> None:
    lab.configure(kubeProxy={"mode": "nftables"})
    assert lab.restarts(lab.up) == {(node, "kube-proxy") for node in NODES}
    for node in NODES:
        assert "10.32.0.1" in lab.ssh(node, "nft list table ip kube-proxy")
        assert lab.ssh(node, "ipvsadm --list --numeric").count("10.32.0.1:443") == 0
    smoke = lab.hardway("smoke")
    assert smoke.succeeded, smoke.output
    assert lab.verify() == []
