"""Three control planes behind one address: pods run on every node, and the cluster survives the loss of any of them."""

import json
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from lab.versions import image_reference
from tests.support import benchmark
from tests.support.cluster import PORT, PRIVILEGED_POD, address_pod, ready, wait_for_pods, web_pod
from tests.support.etcd import encryption_prefixes, members
from tests.support.expired_certificates import expire
from tests.support.policies import policy
from tests.support.profile import EveryLab, reduce_ha
from tests.support.restarts import restarts_since
from tests.support.running_lab import CLOCK_TOLERANCE, Outcome, RunningLab, Service, wait_for, wait_for_text

CONTROL_PLANES = ("control0", "control1", "control2")
WORKERS = ("worker0", "worker1")
TAINT = "node-role.kubernetes.io/control-plane"
HOST_PORT = 8090

smaller = reduce_ha


def test_control_planes_are_tainted_nodes(lab: RunningLab) -> None:
    assert ready(lab) == {*CONTROL_PLANES, *WORKERS}
    nodes = json.loads(lab.kubectl("get", "nodes", "--output=json"))["items"]
    tainted = {
        node["metadata"]["name"]
        for node in nodes
        for taint in node["spec"].get("taints", [])
        if taint["key"] == TAINT and taint["effect"] == "NoSchedule"
    }
    assert tainted == set(CONTROL_PLANES)


def test_each_control_plane_has_an_etcd_member(lab: RunningLab) -> None:
    assert all(etcd_is_ready(lab, name) for name in CONTROL_PLANES)
    assert members(lab, CONTROL_PLANES[0]) == set(CONTROL_PLANES)


def test_this_machine_has_routes_to_pods(lab: RunningLab) -> None:
    routes = lab.run("in-lab", "ip", "route").stdout
    for number, address in enumerate((11, 12, 13, 14, 15), start=1):
        assert f"10.{number}.0.0/16 via 192.168.101.{address}" in routes


class TestLab(EveryLab):
    """The tests of every lab."""


def test_anonymous_requests_are_refused_behind_the_load_balancers(lab: RunningLab) -> None:
    address = lab.configuration["apiAddress"]
    request = f"curl -sk -o /dev/null -w %{{http_code}} https://{address}:6443/healthz"
    assert lab.ssh(WORKERS[0], request) == "401"


def test_only_the_documented_benchmark_checks_fail(lab: RunningLab, tmp_path: Path) -> None:
    folder = benchmark.prepare(tmp_path)
    checks = [
        *benchmark.on_node(lab, CONTROL_PLANES[0], folder, (*benchmark.CONTROL_PLANE, *benchmark.WORKER)),
        *benchmark.in_cluster(lab, folder),
    ]
    failed = {check.number: check.text for check in checks if not check.passed}
    assert failed.keys() == benchmark.documented_deviations(), failed


def test_documents_reach_one_api_server_after_the_other(lab: RunningLab) -> None:
    """The next update of these tests removes them, because each restart of all API servers takes minutes."""
    file = "/etc/kubernetes/ha-test"
    pod_security = {"defaults": {"enforce": "baseline"}, "exemptions": {"namespaces": ["kube-system"]}}
    documents = {
        "auditPolicy": {
            "rules": [
                {"level": "Request", "resources": [{"group": "", "resources": ["configmaps"]}]},
                {"level": "None"},
            ]
        },
        "admission": {"plugins": [{"name": "PodSecurity", "configuration": pod_security}]},
        "files": {file: {"text": "on every control plane\n", "service": "kube-apiserver"}},
    }
    outcomes: list[Outcome] = []
    with lab.configured(**documents):
        began = time.time()
        restarted = lab.restarts(lambda: outcomes.append(lab.up()))
    assert outcomes[0].succeeded, outcomes[0].output
    expected = {(node, "kube-apiserver") for node in CONTROL_PLANES}
    assert restarted - restarted_by_systemd(lab, restarted) == expected
    restarts = restarts_since(lab, began, dict.fromkeys(CONTROL_PLANES, ("kube-apiserver",)))
    assert {restart.node for restart in restarts} == set(CONTROL_PLANES), restarts
    for earlier, later in pairwise(restarts):
        assert later.stopped >= earlier.started - CLOCK_TOLERANCE, restarts
    for node in CONTROL_PLANES:
        server, name = f"--server=https://{lab.nodes[node]['address']}:6443", f"audited-on-{node}"
        lab.kubectl(server, "create", "configmap", name)
        lab.kubectl(server, "delete", "configmap", name)
        logged = f'grep \'"level":"Request"\' /var/log/kubernetes/audit.log | grep -o {name}'
        wait_for_text(name, partial(lab.ssh, node, f"{logged} || echo nothing with this level and name"))
        apply = ("kubectl", server, "apply", "--dry-run=server", "--filename=-")
        assert "violates PodSecurity" in lab.run(*apply, stdin=json.dumps(PRIVILEGED_POD), check=False).stderr
        assert lab.ssh(node, f"cat {file}") == "on every control plane\n"


def test_every_api_server_gets_a_new_encryption_key(lab: RunningLab) -> None:
    lab.kubectl("create", "secret", "generic", "hidden", "--from-literal=password=kept")
    with lab.configured(encryption={"keys": ["key-2", "key-1", "identity"]}), lab.probe() as report:
        outcomes: list[Outcome] = []
        restarted = lab.restarts(lambda: outcomes.append(lab.up()))
    assert outcomes[0].succeeded, outcomes[0].output
    changed = {*((node, "kube-apiserver") for node in CONTROL_PLANES), (CONTROL_PLANES[0], "encryption")}
    assert restarted - restarted_by_systemd(lab, restarted) == changed
    assert [target for target in report["targets"] if target["failures"] or not target["requests"]] == []
    assert all(encryption_prefixes(lab, node) == {"k8s:enc:secretbox:v1:key-2"} for node in CONTROL_PLANES)
    with lab.configured(encryption={"keys": ["key-1", "key-2", "identity"]}):
        assert lab.up().succeeded
    assert encryption_prefixes(lab, CONTROL_PLANES[0]) == {"k8s:enc:secretbox:v1:key-1"}
    assert lab.up().succeeded
    lab.kubectl("delete", "secret", "hidden")


@pytest.fixture
def echo(lab: RunningLab) -> Iterator[str]:
    """The address of a Service over a Deployment. Each of its pods answers with its own name."""
    serve = f"hostname >/tmp/index.html && exec httpd -f -p {PORT} -h /tmp"
    container = {
        "name": "echo",
        "image": image_reference("busybox"),
        "command": ["sh", "-c", serve],
        "readinessProbe": {"httpGet": {"path": "/index.html", "port": PORT}},
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "nodeTaintsPolicy": "Honor",
        "labelSelector": {"matchLabels": {"app": "echo"}},
    }
    pod = {"containers": [container], "topologySpreadConstraints": [spread], "terminationGracePeriodSeconds": 1}
    deployment = {
        "replicas": 3,
        "selector": {"matchLabels": {"app": "echo"}},
        "template": {"metadata": {"labels": {"app": "echo"}}, "spec": pod},
    }
    service = {"selector": {"app": "echo"}, "ports": [{"port": 80, "targetPort": PORT}]}
    text = yaml.safe_dump_all(
        [
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "echo"}, "spec": deployment},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "echo"}, "spec": service},
        ]
    )
    lab.kubectl("apply", "--filename=-", stdin=text)
    lab.kubectl("rollout", "status", "deployment/echo", "--timeout=900s")
    yield lab.kubectl("get", "service", "echo", "--output=jsonpath={.spec.clusterIP}")
    # The pods are gone, too, so that no other test waits for them.
    lab.kubectl("delete", "--filename=-", "--cascade=foreground", "--wait", stdin=text)


def test_service_balances_over_a_deployment(lab: RunningLab, echo: str) -> None:
    pods = json.loads(lab.kubectl("get", "pods", "--selector=app=echo", "--output=json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == set(WORKERS)
    names = {pod["metadata"]["name"] for pod in pods}
    requests = f"for attempt in $(seq 30); do curl -s --max-time 20 http://{echo}/; done"
    for node in (CONTROL_PLANES[0], WORKERS[0]):
        assert set(lab.ssh(node, requests).split()) == names


def test_host_port_reaches_the_pod(lab: RunningLab) -> None:
    node, others = WORKERS[0], (CONTROL_PLANES[0], WORKERS[1])
    pod = web_pod(node)
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": PORT, "hostPort": HOST_PORT}]
    url = f"http://{lab.nodes[node]['address']}:{HOST_PORT}/"
    request = f"curl -s --max-time 20 {url}"

    def answers(nodes: Iterable[str]) -> set[str]:
        """Return the responses to some nodes and to this machine."""
        here = lab.run("in-lab", *request.split(), check=False).stdout
        return {here, *(lab.ssh(node, request, check=False) for node in nodes)}

    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(pod))
    try:
        lab.kubectl("wait", "--for=condition=Ready", f"pod/web-{node}", "--timeout=900s")
        wait_for(f"{url} answers everywhere", lambda: answers((*others, node)) == {f"{node}\n"})
    finally:
        lab.kubectl("delete", "--filename=-", "--wait", stdin=yaml.safe_dump(pod))
    wait_for(f"no answer at {url}", lambda: answers(others) == {""})


def test_network_policy_is_enforced(lab: RunningLab) -> None:
    pods = [
        address_pod(name, node, labels={"app": name}) for name, node in zip(("server", "client"), WORKERS, strict=True)
    ]
    client = {"podSelector": {"matchLabels": {"app": "client"}}}
    deny = policy("deny", "default", app="server", ingress=[])
    allow = policy("allow", "default", app="server", port=PORT, ingress=[client])
    try:
        lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(pods))
        wait_for_pods(lab)
        address = lab.kubectl("get", "pod", "server", "--output=jsonpath={.status.podIP}")
        fetch = ("exec", "client", "--", "timeout", "10", "wget", "-q", "-O", "-", f"http://{address}:{PORT}/")

        def answer() -> str:
            result = lab.run("kubectl", *fetch, check=False)
            return f"answered: {result.stdout}" if result.stdout else f"unanswered: {result.stderr}"

        wait_for_text("answered: server", answer)
        lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(deny))
        wait_for_text("unanswered: ", answer, timeout=180)
        lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(allow))
        wait_for_text("answered: server", answer, timeout=180)
    finally:
        everything = yaml.safe_dump_all([*pods, deny, allow])
        lab.kubectl("delete", "--filename=-", "--ignore-not-found", stdin=everything)


@pytest.mark.drawn
@pytest.mark.parametrize("lost", CONTROL_PLANES)
def test_api_survives_the_loss_of_a_control_plane(lab: RunningLab, lost: str) -> None:
    before = heartbeat(lab)
    lab.run("virsh", "destroy", f"hardway-ha-{lost}")
    try:
        # The kubelet of the worker also uses the virtual address, so it must keep renewing its lease.
        wait_for("the worker's kubelet reports", lambda: heartbeat(lab) not in ("", before))
        assert "worker0" in ready(lab)
    finally:
        lab.run("virsh", "start", f"hardway-ha-{lost}")
    # Its Node may still be Ready from before, so wait for etcd first. The other tests need all members.
    wait_for(f"etcd on {lost} is a member again", lambda: etcd_is_ready(lab, lost))
    wait_for(f"{lost} is Ready again", lambda: lost in ready(lab))


def test_lab_whose_certificates_have_expired_comes_back(lab: RunningLab) -> None:
    lab.kubectl("create", "configmap", "before", "--from-literal=by=etcd")
    expire(lab)
    assert "The next control plane follows before etcd has a leader" in lab.preview()
    outcome = lab.up()
    assert outcome.succeeded, outcome.output
    wait_for("all nodes are Ready", lambda: ready(lab) == {*CONTROL_PLANES, *WORKERS})
    assert members(lab, CONTROL_PLANES[0]) == set(CONTROL_PLANES)
    assert lab.kubectl("get", "configmap", "before", "--output=jsonpath={.data.by}") == "etcd"
    assert lab.planned() == {}


def test_cluster_works_without_its_first_control_plane(lab: RunningLab) -> None:
    """The first one is the hardest, because it also applies add-ons and registers the other nodes."""
    lab.kubectl("create", "configmap", "kept", "--from-literal=by=etcd")
    lab.configure(controlPlanes=lab.configuration["controlPlanes"][1:])
    remaining, outcomes = set(CONTROL_PLANES[1:]), []
    restarted = lab.restarts(lambda: outcomes.append(lab.up()))
    assert outcomes[0].succeeded, outcomes[0].output
    # Certificates and load balancers name all control planes.
    expected = {(node, service) for node in remaining for service in ("kube-apiserver", "haproxy", "keepalived")}
    assert restarted - restarted_by_systemd(lab, restarted) == expected
    assert ready(lab) == {*remaining, *WORKERS}
    assert members(lab, CONTROL_PLANES[1]) == remaining
    assert lab.kubectl("get", "configmap", "kept", "--output=jsonpath={.data.by}") == "etcd"
    assert lab.planned() == {}
    assert lab.verify() == []


def restarted_by_systemd(lab: RunningLab, services: set[Service]) -> set[Service]:
    """Return the services that lost their leader election lease and that systemd therefore started again.

    They renew the lease through the API server of their node. If its restart takes longer than the lease, they exit.
    """
    count = "systemctl show --property NRestarts --value"
    elected = {"kube-controller-manager", "kube-scheduler"}
    return {(node, unit) for node, unit in services if unit in elected and lab.ssh(node, f"{count} {unit}") != "0\n"}


def etcd_is_ready(lab: RunningLab, node: str) -> bool:
    """Return True if etcd on a node is ready."""
    return lab.ssh(node, "curl -s http://127.0.0.1:2381/readyz", check=False).startswith("ok")


def heartbeat(lab: RunningLab) -> str:
    """Return the time of the last lease renewal of the worker's kubelet, empty if the API server does not answer."""
    arguments = ("--request-timeout=10s", "--namespace=kube-node-lease", "get", "lease", "worker0")
    return lab.kubectl(*arguments, "--output=jsonpath={.spec.renewTime}", check=False)
