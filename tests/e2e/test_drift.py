"""`hardway verify` finds manual changes on a node, and the next `pulumi up` repairs them."""

from tests.support.cluster import WORKERS, ready
from tests.support.running_lab import Outcome, RunningLab, wait_for

CONFIGURATION = "/var/lib/kubelet/kubelet-config.yaml"


def test_verify_finds_nothing_on_an_unchanged_lab(lab: RunningLab) -> None:
    assert lab.verify() == []
    assert lab.hardway("verify").succeeded


def test_drift_is_named_and_repaired(lab: RunningLab) -> None:
    lab.ssh("node-0", f"echo '# by hand' >> {CONFIGURATION}; chmod 644 /var/lib/kube-proxy/kubeconfig")
    lab.ssh("node-0", "ip route flush proto kubernetes; sysctl --write vm.panic_on_oom=1")
    lab.kubectl("label", "node", "node-1", "node-role.kubernetes.io/worker-")
    lab.ssh("node-1", "systemctl stop kube-proxy; rm /etc/cni/net.d/99-loopback.conf; echo >> /opt/cni/bin/portmap")
    differences = lab.verify()
    for node, service, subject in (
        ("node-0", "kubelet", CONFIGURATION),
        ("node-0", "kube-proxy", "/var/lib/kube-proxy/kubeconfig"),
        ("node-0", "node-setup", "vm.panic_on_oom is 1, not 0"),
        ("node-1", "registration", "label node-role.kubernetes.io/worker"),
        ("node-1", "kube-proxy", "kube-proxy.service"),
        ("node-1", "node-setup", "/etc/cni/net.d/99-loopback.conf"),
        ("node-1", "node-setup", "/opt/cni/bin/portmap"),
    ):
        assert any(
            found["node"] == node and found["service"] == service and subject in f"{found}" for found in differences
        ), (node, service, differences)
    assert not lab.hardway("verify").succeeded

    outcomes: list[Outcome] = []
    # A file's mode needs no restart. The stopped service is started.
    assert lab.restarts(lambda: outcomes.append(lab.up())) == {("node-0", "kubelet"), ("node-1", "kube-proxy")}
    assert outcomes[0].succeeded, outcomes[0].output
    assert lab.verify() == []
    assert lab.planned() == {}
    wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
