"""A change restarts exactly the services that the preview announced.

Each row is a change on top of the rows before it. Some rows are drawn; with more rounds all of them run. That an
unchanged stack restarts nothing is tested in test_lab.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.cluster import WORKERS, announced_restarts, pod_starts, ready
from tests.support.running_lab import Outcome, RunningLab, Service, wait_for

REPLACEMENTS = "replaced certificates and workers"
Workers = list[dict[str, Any]]


@dataclass(frozen=True)
class Row:
    """A change of the configuration and its effect.

    Attributes:
        change: Returns the keys to set, given the current workers.
        restarts: The services that restart.
        shown: Texts in the preview.
    """

    change: Callable[[Workers], dict[str, Any]]
    restarts: set[Service]
    shown: tuple[str, ...] = ()


def worker(index: int, **fields: Any) -> Callable[[Workers], dict[str, Any]]:
    """Set fields of one worker."""
    return lambda workers: {"workers": [one | fields if number == index else one for number, one in enumerate(workers)]}


def everywhere(**values: Any) -> Callable[[Workers], dict[str, Any]]:
    """Set values of the whole stack."""
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
    """Begin when no pod restarts any more, as after a reboot. Restore the configuration and the lab in the end."""
    lab.wait_until_idle()
    with lab.configured():
        yield
        assert lab.planned() == {}
    assert lab.up().succeeded


@pytest.mark.drawn(number=3)
@pytest.mark.parametrize("name", ROWS)
def test_restarts_match_the_preview(lab: RunningLab, name: str) -> None:
    row = ROWS[name]
    lab.configure(**row.change(lab.workers))
    preview = lab.preview()
    assert announced_restarts(preview) == row.restarts
    for text in row.shown:
        assert text in preview

    pods = pod_starts(lab)
    outcomes: list[Outcome] = []
    assert lab.restarts(lambda: outcomes.append(lab.up())) == row.restarts
    assert outcomes[0].succeeded, outcomes[0].output
    if "after the node is drained" not in preview:
        assert pod_starts(lab) == pods


def test_json_preview_has_the_changed_file(lab: RunningLab) -> None:
    with lab.configured(kubelet={"containerLogMaxFiles": 7}):
        document = lab.run("pulumi", "preview", "--stack", "dev", "--json", "--non-interactive").stdout
        assert "containerLogMaxFiles: 7" in document
        assert "kubelet on node-0 will restart: kubelet-config.yaml" in document


def replaced(lab: RunningLab, certificate: str) -> set[Service]:
    """Return the services that restart when a certificate is signed again."""
    urn = next(
        line.split()[-1]
        for line in lab.run("pulumi", "stack", "--stack", "dev", "--show-urns").stdout.splitlines()
        if line.endswith(f"LocallySignedCert::{certificate}")
    )
    return restarts_of(lab, lambda: lab.up("--replace", urn))


def restarts_of(lab: RunningLab, change: Callable[[], Outcome]) -> set[Service]:
    """Return the services that restart during a successful change, after which nothing is left to do."""
    outcomes: list[Outcome] = []
    restarted = lab.restarts(lambda: outcomes.append(change()))
    assert outcomes[0].succeeded, outcomes[0].output
    assert lab.planned() == {}
    return restarted


def served(lab: RunningLab, address: str) -> str:
    """Return the serial number of the certificate that the kubelet at an address serves."""
    script = f"openssl s_client -connect {address}:10250 </dev/null 2>/dev/null | openssl x509 -serial -noout"
    return lab.ssh("server", script)


def signed(lab: RunningLab, worker: str) -> str:
    """Return the serial number of a kubelet's certificate file."""
    return lab.ssh(worker, "openssl x509 -serial -noout -in /var/lib/kubelet/kubelet.crt")


def kube_proxies(lab: RunningLab) -> None:
    """Every kube-proxy reads the same certificate, so all of them restart."""
    assert replaced(lab, "kube-proxy") == {(worker, "kube-proxy") for worker in WORKERS}


def kubelet(lab: RunningLab) -> None:
    """A kubelet serves its new certificate without a restart."""
    before = signed(lab, "node-1")
    others = signed(lab, "node-0")
    preview = lab.hardway("preview", "--renew", "node-1")
    assert preview.succeeded, preview.output
    assert "LocallySignedCert::kubelet-node-1" in preview.output
    assert restarts_of(lab, lambda: lab.hardway("up", "--renew", "node-1")) == set()
    assert signed(lab, "node-1") != before
    assert signed(lab, "node-0") == others
    wait_for("the new certificate is served", lambda: served(lab, "10.240.0.21") == signed(lab, "node-1"), timeout=180)
    assert lab.kubectl("get", "--raw", "/api/v1/nodes/node-1/proxy/healthz") == "ok"


def etcd(lab: RunningLab) -> None:
    """Renewing the certificates of a control plane renews only that of its etcd."""
    before, kubelets = file_serial(lab), [signed(lab, worker) for worker in WORKERS]
    preview = lab.hardway("preview", "--renew", "server")
    assert preview.succeeded, preview.output
    assert announced_restarts(preview.output) == {("server", "etcd")}
    assert restarts_of(lab, lambda: lab.hardway("up", "--renew", "server")) == {("server", "etcd")}
    connect = "openssl s_client -connect 127.0.0.1:2379 </dev/null 2>/dev/null | openssl x509 -serial -noout"
    assert lab.ssh("server", connect) == file_serial(lab) != before
    assert [signed(lab, worker) for worker in WORKERS] == kubelets


def file_serial(lab: RunningLab) -> str:
    """Return the serial number of the certificate file of etcd."""
    return lab.ssh("server", "openssl x509 -serial -noout -in /etc/etcd/etcd.crt")


def older_kubelet(lab: RunningLab) -> None:
    """An older kubelet must restart to serve its new certificate."""
    lab.configure(**ROWS["the version of one worker"].change(lab.workers))
    assert lab.up().succeeded
    before = signed(lab, "node-0")
    assert replaced(lab, "kubelet-node-0") == {("node-0", "kubelet")}
    assert served(lab, "10.240.0.20") == signed(lab, "node-0") != before


@pytest.mark.drawn(among=REPLACEMENTS)
@pytest.mark.parametrize("certificate", [kube_proxies, kubelet, etcd, older_kubelet])
def test_replaced_certificate_restarts_its_readers(lab: RunningLab, certificate: Callable[[RunningLab], None]) -> None:
    certificate(lab)


@pytest.mark.drawn(among=REPLACEMENTS)
def test_adding_or_removing_a_worker_restarts_nothing(lab: RunningLab) -> None:
    new = {"name": "node-2", "address": "10.240.0.22", "podCidr": "10.200.2.0/24", "memory": 1024}
    outcomes: list[Outcome] = []

    with lab.configured(workers=[*lab.workers, new]):
        assert lab.restarts(lambda: outcomes.append(lab.up())) == set()
        assert outcomes[0].succeeded, outcomes[0].output
        assert "node-2" in lab.kubectl("get", "nodes", "--output=name")
        assert "10.200.2.0/24 via 10.240.0.22" in lab.ssh("node-0", "ip route")
        assert lab.ssh("node-2", "hostname") == "node-2\n"
    assert lab.restarts(lambda: outcomes.append(lab.up())) == set()
    assert outcomes[1].succeeded, outcomes[1].output
    assert "node-2" not in lab.kubectl("get", "nodes", "--output=name")
    assert "10.200.2.0/24" not in lab.ssh("node-0", "ip route")


@pytest.mark.drawn(among=REPLACEMENTS)
def test_new_address_recreates_only_that_worker(lab: RunningLab) -> None:
    first, second = lab.workers
    outcomes: list[Outcome] = []

    def moves(address: str) -> None:
        restarted = lab.restarts(lambda: outcomes.append(lab.up()))
        assert outcomes[-1].succeeded, outcomes[-1].output
        assert {node for node, _ in restarted} <= {"node-1"}
        wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
        assert f"10.200.1.0/24 via {address}" in lab.ssh("node-0", "ip route")
        assert f" {address}/" in lab.ssh("node-1", "ip -brief -4 address")

    with lab.configured(workers=[first, second | {"address": "10.240.0.29"}]):
        moves("10.240.0.29")
    moves(second["address"])
