"""Three control planes behind one address: pods on every node, and the loss of any control plane is not noticed."""

import json
from collections.abc import Iterable, Iterator

import pytest
import yaml

from lab.versions import image_reference
from tests.e2e.test_lab import PORT, ready, web_pod
from tests.profiles.conftest import EveryLab
from tests.support.running_lab import RunningLab, Service, wait_for

CONTROL_PLANES = ("control0", "control1", "control2")
WORKERS = ("worker0", "worker1")
TAINT = "node-role.kubernetes.io/control-plane"
HOST_PORT = 8090


def smaller(lab: RunningLab) -> None:
    """Fewer and smaller machines than the stack has, for where two CPUs are emulated: more of them would only wait."""
    values = lab.configuration
    lab.configure(
        controlPlanes=[node | {"vcpus": 1} for node in values["controlPlanes"]],
        workers=[node | {"vcpus": 1} for node in values["workers"] if node["name"] in WORKERS],
    )


def test_every_control_plane_is_a_tainted_node(lab: RunningLab) -> None:
    assert ready(lab) == {*CONTROL_PLANES, *WORKERS}
    nodes = json.loads(lab.kubectl("get", "nodes", "--output=json"))["items"]
    tainted = {
        node["metadata"]["name"]
        for node in nodes
        for taint in node["spec"].get("taints", [])
        if taint["key"] == TAINT and taint["effect"] == "NoSchedule"
    }
    assert tainted == set(CONTROL_PLANES)


def test_etcd_has_a_member_on_each_control_plane(lab: RunningLab) -> None:
    assert all(answers(lab, name) for name in CONTROL_PLANES)
    assert members(lab) == set(CONTROL_PLANES)


def test_this_machine_routes_to_the_pods(lab: RunningLab) -> None:
    routes = lab.run("in-lab", "ip", "route").stdout
    for number, address in enumerate((11, 12, 13, 14, 15), start=1):
        assert f"10.{number}.0.0/16 via 192.168.101.{address}" in routes


class TestLab(EveryLab):
    """What holds of every lab."""


@pytest.fixture
def echo(lab: RunningLab) -> Iterator[str]:
    """The address of a Service over a Deployment, each of whose pods answers with its own name."""
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
    lab.kubectl("delete", "--filename=-", "--wait", stdin=text)


def test_a_deployment_runs_on_the_workers_and_its_service_balances_over_its_pods(lab: RunningLab, echo: str) -> None:
    pods = json.loads(lab.kubectl("get", "pods", "--selector=app=echo", "--output=json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == set(WORKERS)
    names = {pod["metadata"]["name"] for pod in pods}
    ask = f"for attempt in $(seq 30); do curl -s --max-time 20 http://{echo}/; done"
    for node in (CONTROL_PLANES[0], WORKERS[0]):
        assert set(lab.ssh(node, ask).split()) == names


def test_a_pod_is_reached_at_the_port_of_its_node_that_it_asks_for(lab: RunningLab) -> None:
    node, others = WORKERS[0], (CONTROL_PLANES[0], WORKERS[1])
    pod = web_pod(node)
    pod["spec"]["containers"][0]["ports"] = [{"containerPort": PORT, "hostPort": HOST_PORT}]
    url = f"http://{lab.nodes[node]['address']}:{HOST_PORT}/"
    ask = f"curl -s --max-time 20 {url}"

    def answers_of(places: Iterable[str]) -> set[str]:
        """What other nodes, and this machine, get there."""
        return {lab.run("in-lab", *ask.split(), check=False).stdout, *(lab.ssh(of, ask, check=False) for of in places)}

    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(pod))
    try:
        lab.kubectl("wait", "--for=condition=Ready", f"pod/web-{node}", "--timeout=900s")
        wait_for(f"{url} answers everywhere", lambda: answers_of((*others, node)) == {f"{node}\n"})
    finally:
        lab.kubectl("delete", "--filename=-", "--wait", stdin=yaml.safe_dump(pod))
    wait_for(f"nobody answers at {url} any more", lambda: answers_of(others) == {""})


@pytest.mark.drawn
@pytest.mark.parametrize("lost", CONTROL_PLANES)
def test_the_api_outlives_any_control_plane(lab: RunningLab, lost: str) -> None:
    before = heartbeat(lab)
    lab.run("virsh", "destroy", f"hardway-ha-{lost}")
    try:
        # A client polls all the while; the kubelet of the worker reports through the address, too, and is never missed.
        wait_for("the worker's kubelet reports", lambda: heartbeat(lab) not in ("", before))
        assert "worker0" in ready(lab)
    finally:
        lab.run("virsh", "start", f"hardway-ha-{lost}")
    # Its Node may still be Ready from before. What is left of the tests finds it as it was.
    wait_for(f"etcd on {lost} is a member again", lambda: answers(lab, lost))
    wait_for(f"{lost} is Ready again", lambda: lost in ready(lab))


def test_a_control_plane_that_leaves_is_not_missed(lab: RunningLab) -> None:
    lab.kubectl("create", "configmap", "kept", "--from-literal=by=etcd")
    lab.configure(controlPlanes=lab.configuration["controlPlanes"][:2])
    stay, changes = set(CONTROL_PLANES[:2]), []
    restarted = lab.restarts(lambda: changes.append(lab.up()))
    assert changes[0].succeeded, changes[0].output
    # Certificates and load balancers name the control planes that are there.
    naming = {(node, service) for node in stay for service in ("kube-apiserver", "haproxy", "keepalived")}
    assert restarted - ended_by_themselves(lab, restarted) == naming
    assert ready(lab) == {*stay, *WORKERS}
    assert members(lab) == stay
    assert lab.kubectl("get", "configmap", "kept", "--output=jsonpath={.data.by}") == "etcd"


def ended_by_themselves(lab: RunningLab, services: set[Service]) -> set[Service]:
    """Those of the services that systemd has started again, as who leads must end once it could not renew its lease.

    It renews by its own node's API server, and where that takes longer to restart than the lease lasts it has lost it.
    """
    count = "systemctl show --property NRestarts --value"
    elected = {"kube-controller-manager", "kube-scheduler"}
    return {(node, unit) for node, unit in services if unit in elected and lab.ssh(node, f"{count} {unit}") != "0\n"}


def answers(lab: RunningLab, node: str) -> bool:
    """Whether etcd on a node is ready."""
    return lab.ssh(node, "curl -s http://127.0.0.1:2381/readyz", check=False).startswith("ok")


def members(lab: RunningLab) -> set[str]:
    """The names of etcd's members that vote."""
    files = "--cacert /etc/etcd/ca.crt --cert /etc/etcd/etcd.crt --key /etc/etcd/etcd.key"
    asked = f"curl -s {files} --data '{{}}' https://127.0.0.1:2379/v3/cluster/member/list"
    listed = json.loads(lab.ssh(CONTROL_PLANES[0], asked))["members"]
    return {member["name"] for member in listed if not member.get("isLearner")}


def heartbeat(lab: RunningLab) -> str:
    """When the worker's kubelet renewed its lease last; empty while the API does not answer."""
    arguments = ("--request-timeout=10s", "--namespace=kube-node-lease", "get", "lease", "worker0")
    return lab.kubectl(*arguments, "--output=jsonpath={.spec.renewTime}", check=False)
