"""Workers that read their identity from their user-data."""

import json

from tests.support.cluster import ready
from tests.support.profile import EveryLab
from tests.support.running_lab import RunningLab

POD_CIDRS = {"worker-0": "172.20.0.0/24", "worker-1": "172.20.1.0/24"}


def test_workers_are_ready_under_their_names(lab: RunningLab) -> None:
    assert ready(lab) == set(POD_CIDRS)
    for worker in POD_CIDRS:
        assert f"--hostname-override={worker}" in lab.ssh(worker, "tr '\\0' '\\n' </proc/$(pidof kubelet)/cmdline")
        assert lab.ssh(worker, f"ls /var/lib/kubelet/{worker}.pem /var/lib/kubelet/{worker}-key.pem").count("\n") == 2


def test_bridge_has_the_pod_cidr(lab: RunningLab) -> None:
    for worker, pod_cidr in POD_CIDRS.items():
        bridge = json.loads(lab.ssh(worker, "cat /etc/cni/net.d/172-20-bridge.conflist"))["plugins"][0]
        assert bridge["ipam"]["ranges"] == [[{"subnet": pod_cidr}]]
        # The template has no pod CIDR: the node fills it in.
        assert pod_cidr not in lab.ssh(worker, "cat /etc/kubernetes/templates/172-20-bridge.conflist")


def test_bridge_settings_are_a_separate_file(lab: RunningLab) -> None:
    for worker in POD_CIDRS:
        assert "net.bridge.bridge-nf-call-iptables" in lab.ssh(worker, "cat /etc/sysctl.d/172-20-bridge.conf")
        assert lab.ssh(worker, "cat /proc/sys/net/bridge/bridge-nf-call-iptables").strip() == "1"


def test_swap_is_switched_off(lab: RunningLab) -> None:
    lab.ssh(
        "worker-0",
        "fallocate -l 16M /swap && chmod 600 /swap && mkswap /swap && swapon /swap"
        " && echo '/swap none swap sw 0 0' >>/etc/fstab && swapon --show --noheadings",
    )
    assert "Swap was found" in lab.ssh("worker-0", "/usr/local/lib/hardway/install-prerequisites")
    assert lab.ssh("worker-0", "swapon --show --noheadings; grep '^[^#].*swap' /etc/fstab; true") == ""


class TestLab(EveryLab):
    """The tests of every lab."""
