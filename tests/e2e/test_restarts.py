"""A change restarts exactly the services that it is of, and the preview says so beforehand.

Each row is a change on top of those before it, so that every service has had its turn when the last one is through.
Some of them are drawn, or with more rounds all; that nothing restarts by no change is held in test_a_lab.py.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.test_lab import WORKERS, ready
from tests.support.running_lab import Change, RunningLab, Service, wait_for

REPLACEMENTS = "certificates and workers that take each other's place"
Workers = list[dict[str, Any]]
ANNOUNCED = re.compile(r"(?P<service>[a-z-]+) on (?P<node>[a-z0-9-]+) will restart: (?P<why>.+)")


@dataclass(frozen=True)
class Row:
    """A change of the configuration, what restarts by it, and what the preview shows of it.

    change: the keys to lay over the configuration, given the workers as they are.
    """

    change: Callable[[Workers], dict[str, Any]]
    restarts: set[Service]
    shown: tuple[str, ...] = ()


def worker(index: int, **fields: Any) -> Callable[[Workers], dict[str, Any]]:
    """Lays fields over those of one worker."""
    return lambda workers: {"workers": [one | fields if number == index else one for number, one in enumerate(workers)]}


def everywhere(**values: Any) -> Callable[[Workers], dict[str, Any]]:
    """Lays values over the stack's."""
    return lambda _: values


ROWS = {
    "a kubelet field of one worker": Row(
        worker(1, kubelet={"maxPods": 50}),
        {("node-1", "kubelet")},
        ("kubelet on node-1 will restart: kubelet-config.yaml", "maxPods", "110", "50"),
    ),
    "a kubelet field for all": Row(
        everywhere(kubelet={"containerLogMaxFiles": 3}),
        {(node, "kubelet") for node in WORKERS},
        ("containerLogMaxFiles",),
    ),
    "the containerd configuration": Row(
        everywhere(containerd={"plugins": {"io.containerd.cri.v1.images": {"max_concurrent_downloads": 5}}}),
        {(node, "containerd") for node in WORKERS},
        ("max_concurrent_downloads",),
    ),
    "the CNI configuration": Row(
        everywhere(cni={"mtu": 1400}), set(), ("node-setup on node-0 will be reloaded, and nothing restarts", "1400")
    ),
    "a kube-proxy field of one worker": Row(
        worker(0, kubeProxy={"mode": "nftables"}), {("node-0", "kube-proxy")}, ("nftables",)
    ),
    "a label of one worker": Row(worker(1, labels={"disk": "ssd"}), set(), ("disk=ssd",)),
    "a taint of one worker": Row(
        worker(1, taints=["dedicated=test:PreferNoSchedule"]),
        {("node-1", "kubelet")},
        ("dedicated=test:PreferNoSchedule",),
    ),
    "the address of the cluster DNS": Row(
        everywhere(clusterDns="10.32.0.53"),
        {("server", "addons"), *((node, "kubelet") for node in WORKERS)},
        ("10.32.0.53",),
    ),
    "a flag of the scheduler": Row(everywhere(schedulerFlags={"v": 3}), {("server", "kube-scheduler")}, ("--v=3",)),
    "the version of one worker": Row(
        worker(0, kubernetesVersion="v1.35.4"),
        {("node-0", "kubelet"), ("node-0", "kube-proxy")},
        ("v1.36.3", "v1.35.4"),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: RunningLab) -> Any:
    """Puts the configuration back when the rows are through, and the lab with it."""
    with lab.configured():
        yield
        assert lab.planned() == {}
    assert lab.up().succeeded


def announced(preview: str) -> set[Service]:
    """The services that a preview says will restart."""
    return {(found["node"], found["service"]) for found in ANNOUNCED.finditer(preview)}


def pod_starts(lab: RunningLab) -> str:
    """When every container of the lab's own pods was started, and how often."""
    path = "{range .items[*]}{.metadata.uid} {.status.containerStatuses[*].state.running.startedAt}"
    return lab.kubectl(
        "get",
        "pods",
        "--all-namespaces",
        f"--output=jsonpath={path} {{.status.containerStatuses[*].restartCount}}{{end}}",
    )


@pytest.mark.drawn(number=3)
@pytest.mark.parametrize("name", ROWS)
def test_a_change_restarts_exactly_what_the_preview_announced(lab: RunningLab, name: str) -> None:
    row = ROWS[name]
    lab.configure(**row.change(lab.workers))
    preview = lab.preview()
    assert announced(preview) == row.restarts
    for text in row.shown:
        assert text in preview

    pods = pod_starts(lab)
    changes: list[Change] = []
    assert lab.restarts(lambda: changes.append(lab.up())) == row.restarts
    assert changes[0].succeeded, changes[0].output
    assert pod_starts(lab) == pods


def test_the_json_preview_carries_the_changed_file_too(lab: RunningLab) -> None:
    with lab.configured(kubelet={"containerLogMaxFiles": 7}):
        document = lab.run("pulumi", "preview", "--stack", "dev", "--json", "--non-interactive").stdout
        assert "containerLogMaxFiles: 7" in document
        assert "kubelet on node-0 will restart: kubelet-config.yaml" in document


def replaced(lab: RunningLab, certificate: str) -> set[Service]:
    """What restarts when a certificate is signed anew."""
    urn = next(
        line.split()[-1]
        for line in lab.run("pulumi", "stack", "--stack", "dev", "--show-urns").stdout.splitlines()
        if line.endswith(f"LocallySignedCert::{certificate}")
    )
    changes: list[Change] = []
    restarted = lab.restarts(lambda: changes.append(lab.up("--replace", urn)))
    assert changes[0].succeeded, changes[0].output
    assert lab.planned() == {}
    return restarted


def served(lab: RunningLab, address: str) -> str:
    """The serial number of the certificate that a kubelet shows to those who connect by address."""
    script = f"openssl s_client -connect {address}:10250 </dev/null 2>/dev/null | openssl x509 -serial -noout"
    return lab.ssh("server", script)


def signed(lab: RunningLab, worker: str) -> str:
    """The serial number of the certificate that a kubelet has."""
    return lab.ssh(worker, "openssl x509 -serial -noout -in /var/lib/kubelet/kubelet.crt")


def of_every_kube_proxy(lab: RunningLab) -> None:
    """All of them read the same one."""
    assert replaced(lab, "kube-proxy") == {(worker, "kube-proxy") for worker in WORKERS}


def of_a_kubelet(lab: RunningLab) -> None:
    """It serves its new one without a restart."""
    before = signed(lab, "node-1")
    assert replaced(lab, "kubelet-node-1") == set()
    assert signed(lab, "node-1") != before
    wait_for("the new certificate is served", lambda: served(lab, "10.240.0.21") == signed(lab, "node-1"), patience=180)
    assert lab.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/healthz") == "ok"


def of_an_older_kubelet(lab: RunningLab) -> None:
    """It is restarted to serve its new one."""
    lab.configure(**ROWS["the version of one worker"].change(lab.workers))
    assert lab.up().succeeded
    before = signed(lab, "node-0")
    assert replaced(lab, "kubelet-node-0") == {("node-0", "kubelet")}
    assert served(lab, "10.240.0.20") == signed(lab, "node-0") != before


@pytest.mark.drawn(among=REPLACEMENTS)
@pytest.mark.parametrize("certificate", [of_every_kube_proxy, of_a_kubelet, of_an_older_kubelet])
def test_a_replaced_certificate_restarts_those_who_do_not_read_it_again(
    lab: RunningLab, certificate: Callable[[RunningLab], None]
) -> None:
    certificate(lab)


@pytest.mark.drawn(among=REPLACEMENTS)
def test_a_worker_that_comes_or_goes_restarts_nothing_elsewhere(lab: RunningLab) -> None:
    new = {"name": "node-2", "address": "10.240.0.22", "podCidr": "10.200.2.0/24", "memory": 1024}
    changes: list[Change] = []

    with lab.configured(workers=[*lab.workers, new]):
        assert lab.restarts(lambda: changes.append(lab.up())) == set()
        assert changes[0].succeeded, changes[0].output
        assert "node-2" in lab.kubectl("get", "nodes", "--output=name")
        assert "10.200.2.0/24 via 10.240.0.22" in lab.ssh("node-0", "ip route")
        assert lab.ssh("node-2", "hostname") == "node-2\n"
    assert lab.restarts(lambda: changes.append(lab.up())) == set()
    assert changes[1].succeeded, changes[1].output
    assert "node-2" not in lab.kubectl("get", "nodes", "--output=name")
    assert "10.200.2.0/24" not in lab.ssh("node-0", "ip route")


@pytest.mark.drawn(among=REPLACEMENTS)
def test_a_worker_with_another_address_is_made_anew_and_nothing_restarts_elsewhere(lab: RunningLab) -> None:
    first, second = lab.workers
    changes: list[Change] = []

    def moves(address: str) -> None:
        restarted = lab.restarts(lambda: changes.append(lab.up()))
        assert changes[-1].succeeded, changes[-1].output
        assert {node for node, _ in restarted} <= {"node-1"}
        wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
        assert f"10.200.1.0/24 via {address}" in lab.ssh("node-0", "ip route")
        assert f" {address}/" in lab.ssh("node-1", "ip -brief -4 address")

    with lab.configured(workers=[first, second | {"address": "10.240.0.29"}]):
        moves("10.240.0.29")
    moves(second["address"])
