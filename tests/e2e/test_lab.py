"""One command brings a lab up from a fresh clone, and the lab is a working cluster."""

import subprocess
from collections.abc import Callable, Iterator

import pytest
import yaml

from tests.support.cluster import PORT, WORKERS, fetch, ready, web_pod
from tests.support.running_lab import Outcome, RunningLab, wait_for


@pytest.fixture(scope="module")
def pods(lab: RunningLab) -> Iterator[dict[str, str]]:
    """A web server on each worker, all behind one Service. The value is the pod's address by worker."""
    objects = [web_pod(worker) for worker in WORKERS]
    objects.append(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": PORT}]},
        }
    )
    text = yaml.safe_dump_all(objects)
    lab.kubectl("apply", "--filename=-", stdin=text)
    lab.kubectl("wait", "--for=condition=Ready", "pod", "--selector=app=web", "--timeout=900s")
    yield {
        worker: lab.kubectl("get", "pod", f"web-{worker}", "--output=jsonpath={.status.podIP}") for worker in WORKERS
    }
    # Without waiting: the worker that was rebooted may take minutes, and no other stage looks at these pods.
    lab.kubectl("delete", "--filename=-", "--wait=false", stdin=text)


def test_up_ends_with_nodes_and_next_steps(first_up: Outcome) -> None:
    for text in (*WORKERS, "Ready", "10.240.0.20", ". ./.lab/env", "hardway preview"):
        assert text in first_up.output


def test_checkout_stays_clean(lab: RunningLab) -> None:
    result = subprocess.run(["git", "status", "--porcelain"], cwd=lab.checkout, capture_output=True, text=True)
    assert result.stdout == ""


def test_preview_without_change_is_empty(lab: RunningLab) -> None:
    assert lab.planned() == {}


@pytest.mark.parametrize("up", [RunningLab.hardway, RunningLab.make], ids=["hardway", "make"])
def test_up_again_changes_and_restarts_nothing(lab: RunningLab, up: Callable[[RunningLab, str], Outcome]) -> None:
    outcomes: list[Outcome] = []
    assert lab.restarts(lambda: outcomes.append(up(lab, "up"))) == set()
    assert outcomes[0].succeeded
    assert "unchanged" in outcomes[0].output
    assert "updated" not in outcomes[0].output


def test_clocks_are_correct(lab: RunningLab) -> None:
    assert lab.clock_errors() == {}


def test_workers_are_ready_with_role_and_version(lab: RunningLab) -> None:
    assert ready(lab) == set(WORKERS)
    rows = lab.kubectl("get", "nodes", "--no-headers").splitlines()
    assert [row.split()[:3] + row.split()[4:5] for row in rows] == [
        [worker, "Ready", "worker", "v1.36.3"] for worker in WORKERS
    ]


def test_pods_on_different_workers_reach_each_other(lab: RunningLab, pods: dict[str, str]) -> None:
    for source in WORKERS:
        for target, address in pods.items():
            assert fetch(lab, source, f"http://{address}:{PORT}/") == target


def test_pods_reach_a_service_by_address_and_name(lab: RunningLab, pods: dict[str, str]) -> None:
    assert len(pods) == len(WORKERS)
    address = lab.kubectl("get", "service", "web", "--output=jsonpath={.spec.clusterIP}")
    lab.wait_for_addon("coredns")
    for source in WORKERS:
        assert fetch(lab, source, f"http://{address}/") in WORKERS
        assert fetch(lab, source, "http://web.default.svc.cluster.local/") in WORKERS


def test_kubelets_serve_logs_and_exec(lab: RunningLab, pods: dict[str, str]) -> None:
    for worker, address in pods.items():
        assert address in lab.kubectl("exec", f"web-{worker}", "--", "ip", "address")
        fetch(lab, worker, f"http://{address}:{PORT}/")
        assert "response:200" in lab.kubectl("logs", f"web-{worker}")


def test_pod_port_can_be_forwarded(lab: RunningLab, pods: dict[str, str]) -> None:
    assert pods
    forwarding = lab.start("kubectl", "port-forward", f"pod/web-{WORKERS[0]}", f"18080:{PORT}")
    try:
        assert forwarding.stdout
        assert "Forwarding from" in forwarding.stdout.readline()
        answer = lab.run("in-lab", "curl", "--silent", "--max-time", "30", "http://127.0.0.1:18080/").stdout
    finally:
        forwarding.terminate()
        forwarding.wait()
    assert answer.strip() == WORKERS[0]


def test_workers_keep_keys_private_and_have_no_ca_key(lab: RunningLab) -> None:
    services = ("kube-network-policies", "kube-proxy", "kubelet")
    folders = " ".join(f"/var/lib/{service}/*" for service in services)
    for worker in WORKERS:
        listing = lab.ssh(worker, f"stat -c '%a %U:%G %n' {folders} /etc/systemd/system/kube*.service")
        for line in listing.splitlines():
            mode, owner, path = line.split()
            if path.endswith((".crt", ".key", "kubeconfig", "config.yaml", ".service")):
                assert (mode, owner) == ("644" if path.endswith("ca.crt") else "600", "root:root"), line
        others = "-path /usr -prune -o -path /var/lib/kubelet/pods -prune"
        keys = lab.ssh(worker, f"find / -xdev {others} -o -name '*.key' -print | sort").split()
        assert keys == [f"/var/lib/{service}/{service}.key" for service in services]


def test_kubelet_requires_a_client_certificate(lab: RunningLab) -> None:
    codes = lab.ssh(
        "node-0",
        "curl -sk -o /dev/null -w '%{http_code} ' https://127.0.0.1:10250/pods; "
        "curl -s -o /dev/null -w '%{http_code}' --max-time 5 http://127.0.0.1:10255/pods || true",
    )
    assert codes.split() == ["401", "000"]


def test_worker_recovers_after_a_reboot(lab: RunningLab) -> None:
    booted = "cat /proc/sys/kernel/random/boot_id"
    before = lab.ssh("node-1", booted)
    lab.ssh("node-1", "systemctl reboot", check=False)
    wait_for("node-1 booted again", lambda: lab.ssh("node-1", booted, check=False) not in ("", before))
    services = "kubelet containerd kube-proxy node-setup"
    wait_for(
        "the services of node-1",
        lambda: lab.ssh("node-1", f"systemctl is-active {services}", check=False).split() == ["active"] * 4,
    )
    wait_for("node-1 Ready", lambda: "node-1" in ready(lab))
    # Connections of pods are held back before the kubelet starts the first pod.
    since_boot = "systemctl show --property ActiveEnterTimestampMonotonic --value kube-network-policies kubelet"
    policies, kubelet = map(int, lab.ssh("node-1", since_boot).split())
    assert policies < kubelet
    assert lab.ssh("node-1", "sysctl -n net.bridge.bridge-nf-call-iptables net.ipv4.ip_forward").split() == ["1", "1"]
    assert "10.200.0.0/24 via 10.240.0.20" in lab.ssh("node-1", "ip route")
    assert lab.planned() == {}
