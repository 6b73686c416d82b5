"""A lab comes up from a fresh clone by one command, and is a cluster that does what clusters do."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from lab.versions import image_reference
from tests.support.running_lab import Change, RunningLab, wait_for

WORKERS = ("node-0", "node-1")
PORT = 8080


def ready(lab: RunningLab) -> set[str]:
    """The nodes that the API server holds for Ready."""
    nodes = json.loads(lab.kubectl("get", "nodes", "--output=json"))["items"]
    return {
        node["metadata"]["name"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def web_pod(node: str) -> dict[str, Any]:
    """A pod on a node with a web server that answers with the node's name."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"web-{node}", "labels": {"app": "web"}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "web",
                    "image": image_reference("busybox"),
                    "imagePullPolicy": "IfNotPresent",
                    "readinessProbe": {"httpGet": {"path": "/index.html", "port": PORT}, "periodSeconds": 1},
                    "command": ["sh", "-c", f"echo {node} > /tmp/index.html; exec httpd -f -v -p {PORT} -h /tmp"],
                }
            ],
        },
    }


@pytest.fixture(scope="module")
def pods(lab: RunningLab) -> Iterator[dict[str, str]]:
    """A web server in a pod on each worker behind one Service: worker to the pod's address."""
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
    lab.kubectl("wait", "--for=condition=Ready", "pod", "--selector=app=web", "--timeout=600s")
    yield {
        worker: lab.kubectl("get", "pod", f"web-{worker}", "--output=jsonpath={.status.podIP}") for worker in WORKERS
    }
    lab.kubectl("delete", "--filename=-", "--wait", stdin=text)


def fetch(lab: RunningLab, worker: str, url: str) -> str:
    """What a pod on a worker gets from a URL."""
    result = lab.run("kubectl", "exec", f"web-{worker}", "--", "timeout", "20", "wget", "-O", "-", url, check=False)
    return result.stdout.strip() or result.stderr


def test_make_up_ends_with_the_nodes_and_how_to_go_on(first_up: Change) -> None:
    for text in (*WORKERS, "Ready", "10.240.0.20", ". ./.lab/env", "pulumi preview"):
        assert text in first_up.output


def test_the_checkout_is_clean_after_make_up(lab: RunningLab) -> None:
    result = subprocess.run(["git", "status", "--porcelain"], cwd=lab.checkout, capture_output=True, text=True)
    assert result.stdout == ""


def test_a_preview_without_a_change_shows_none(lab: RunningLab) -> None:
    assert lab.planned() == {}


def test_make_up_again_changes_and_restarts_nothing(lab: RunningLab) -> None:
    changes: list[Change] = []
    assert lab.restarts(lambda: changes.append(lab.make("up"))) == set()
    assert changes[0].succeeded
    assert "unchanged" in changes[0].output
    assert "updated" not in changes[0].output


def test_every_node_tells_the_time_of_this_machine(lab: RunningLab) -> None:
    assert lab.clock_errors() == {}


def test_every_worker_is_ready_with_its_role_and_version(lab: RunningLab) -> None:
    assert ready(lab) == set(WORKERS)
    rows = lab.kubectl("get", "nodes", "--no-headers").splitlines()
    assert [row.split()[:3] + row.split()[4:5] for row in rows] == [
        [worker, "Ready", "worker", "v1.36.3"] for worker in WORKERS
    ]


def test_pods_on_different_workers_reach_each_other(lab: RunningLab, pods: dict[str, str]) -> None:
    for source in WORKERS:
        for target, address in pods.items():
            assert fetch(lab, source, f"http://{address}:{PORT}/") == target


def test_a_service_is_reached_by_address_and_by_name_from_every_worker(lab: RunningLab, pods: dict[str, str]) -> None:
    assert len(pods) == len(WORKERS)
    address = lab.kubectl("get", "service", "web", "--output=jsonpath={.spec.clusterIP}")
    lab.kubectl("--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=600s")
    for source in WORKERS:
        assert fetch(lab, source, f"http://{address}/") in WORKERS
        assert fetch(lab, source, "http://web.default.svc.cluster.local/") in WORKERS


def test_logs_and_exec_go_through_the_kubelets(lab: RunningLab, pods: dict[str, str]) -> None:
    for worker, address in pods.items():
        assert address in lab.kubectl("exec", f"web-{worker}", "--", "ip", "address")
        fetch(lab, worker, f"http://{address}:{PORT}/")
        assert "response:200" in lab.kubectl("logs", f"web-{worker}")


def test_a_port_of_a_pod_can_be_forwarded(lab: RunningLab, pods: dict[str, str]) -> None:
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


def test_secret_files_are_readable_by_root_alone_and_no_worker_has_an_authoritys_key(lab: RunningLab) -> None:
    for worker in WORKERS:
        listing = lab.ssh(
            worker, "stat -c '%a %U:%G %n' /var/lib/kubelet/* /var/lib/kube-proxy/* /etc/systemd/system/kube*.service"
        )
        for line in listing.splitlines():
            mode, owner, path = line.split()
            if path.endswith((".crt", ".key", "kubeconfig", "config.yaml", ".service")):
                assert (mode, owner) == ("644" if path.endswith("ca.crt") else "600", "root:root"), line
        keys = lab.ssh(worker, "find / -xdev -name '*.key' -not -path '/proc/*' -not -path '/usr/*' | sort").split()
        assert keys == ["/var/lib/kube-proxy/kube-proxy.key", "/var/lib/kubelet/kubelet.key"]


def test_a_kubelet_answers_nobody_without_a_certificate(lab: RunningLab) -> None:
    codes = lab.ssh(
        "node-0",
        "curl -sk -o /dev/null -w '%{http_code} ' https://127.0.0.1:10250/pods; "
        "curl -s -o /dev/null -w '%{http_code}' --max-time 5 http://127.0.0.1:10255/pods || true",
    )
    assert codes.split() == ["401", "000"]


def test_after_a_reboot_all_of_a_worker_comes_back_by_itself(lab: RunningLab) -> None:
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
    assert lab.ssh("node-1", "sysctl -n net.bridge.bridge-nf-call-iptables net.ipv4.ip_forward").split() == ["1", "1"]
    assert "10.200.0.0/24 via 10.240.0.20" in lab.ssh("node-1", "ip route")
    assert lab.planned() == {}
