"""The default stack with kube-router as CNI plugin and in place of kube-proxy, installed by docs/kube-router.yaml."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import yaml

from tests.support import kube_router
from tests.support.cluster import PORT, WORKERS, fetch, ready, web_pod
from tests.support.profile import EveryLab, brought_up
from tests.support.running_lab import RunningLab, wait_for

NODES = {"server", *WORKERS}
DENY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "deny"},
    "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]},
}
ALLOW = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "allow"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}],
    },
}
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": PORT}]},
}


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    """The lab. Its nodes may still lack the network, because `hardway up` does not wait for it."""
    with brought_up("dev", kube_router.install) as running:
        yield running


def expect(lab: RunningLab, what: str, condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, or fail with the state of kube-router."""
    try:
        wait_for(what, condition)
    except TimeoutError as error:
        raise AssertionError(f"{error}\n{kube_router.state(lab)}") from None


def has_route(lab: RunningLab, node: str, route: str) -> bool:
    """Return True if a node has a route."""
    return route in lab.ssh(node, "ip route")


def knows_all_pods(lab: RunningLab, node: str) -> bool:
    """Return True if kube-router on a node has the pod CIDRs of all nodes.

    It translates the source address of a request to a pod that it does not know.
    """
    known = set(lab.ssh(node, "ipset save kube-router-pod-subnets").split())
    return {lab.nodes[each]["podCidr"] for each in NODES} <= known


def reaches(lab: RunningLab, client: str, url: str, server: str) -> bool:
    """Return True if the web pod of a worker reaches that of another worker at a URL."""
    return fetch(lab, client, url) == server


def test_nodes_become_ready(lab: RunningLab) -> None:
    running = ("--namespace=kube-system", "get", "daemonset", "kube-router", "--output=jsonpath={.status.numberReady}")
    expect(lab, "kube-router runs on every node", lambda: lab.kubectl(*running, check=False) == str(len(NODES)))
    expect(lab, "every node is Ready", lambda: ready(lab) == NODES)
    lab.wait_until_idle()


def test_nodes_have_its_network_and_no_kube_proxy(lab: RunningLab) -> None:
    for node in NODES:
        assert lab.ssh(node, "systemctl is-active kube-proxy kube-network-policies || true").split() == ["inactive"] * 2
        assert lab.ssh(node, "ls /etc/cni/net.d").split() == ["10-kuberouter.conflist"]
    for node, other in (WORKERS, WORKERS[::-1]):
        pods, address = (lab.nodes[other][key] for key in ("podCidr", "address"))
        route = f"{pods} via {address}"
        expect(lab, f"{node} has the route {route}", partial(has_route, lab, node, route))
        assert "10.32.0.1:443" in lab.ssh(node, "ipvsadm --list --numeric"), kube_router.state(lab)
    # As docs/network-choices.md says: before, it may not know the pods of nodes that joined after it had started.
    lab.kubectl("--namespace=kube-system", "rollout", "restart", "daemonset/kube-router")
    for node in NODES:
        expect(lab, f"kube-router on {node} knows all pods", partial(knows_all_pods, lab, node))


class TestLab(EveryLab):
    """The tests of every lab."""


@pytest.fixture(scope="module")
def addresses(lab: RunningLab) -> Iterator[dict[str, str]]:
    """The address of the web pod on each worker."""
    text = yaml.safe_dump_all([*map(web_pod, WORKERS), SERVICE])
    lab.kubectl("apply", "--filename=-", stdin=text)
    lab.kubectl("wait", "pods", "--selector=app=web", "--for=condition=Ready", "--timeout=900s")
    get = ("get", "pod", "--output=jsonpath={.status.podIP}")
    yield {node: lab.kubectl(*get, f"web-{node}") for node in WORKERS}
    lab.kubectl("delete", "--filename=-", "--wait", stdin=text)


def test_pods_reach_each_other_with_their_own_addresses(lab: RunningLab, addresses: dict[str, str]) -> None:
    for client, server in (WORKERS, WORKERS[::-1]):
        url = f"http://{addresses[server]}:{PORT}/index.html"
        expect(lab, f"{client} reaches {url}", partial(reaches, lab, client, url, server))
        # busybox logs the address of each client as [::ffff:10.200.0.5]:40000.
        assert f"{addresses[client]}]:" in lab.kubectl("logs", f"web-{server}"), f"{client} has another address"


@pytest.mark.usefixtures("addresses")
def test_service_balances_over_both_workers(lab: RunningLab) -> None:
    for client in WORKERS:
        answers: set[str] = set()

        def has_both(client: str = client, answers: set[str] = answers) -> bool:
            answers.add(fetch(lab, client, "http://web/index.html"))
            return answers >= set(WORKERS)

        expect(lab, f"the pod on {client} reaches both pods by the Service", has_both)


def test_policies_are_enforced(lab: RunningLab, addresses: dict[str, str]) -> None:
    client, server = WORKERS
    url = f"http://{addresses[server]}:{PORT}/index.html"
    try:
        lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(DENY))
        expect(lab, "default deny", lambda: not reaches(lab, client, url, server))
        lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(ALLOW))
        expect(lab, "ingress by pod", partial(reaches, lab, client, url, server))
    finally:
        lab.kubectl("delete", "networkpolicies", "--all")


def test_up_leaves_its_rules_and_routes(lab: RunningLab, addresses: dict[str, str]) -> None:
    """A change reloads node-setup, which loads the lab's own rules and routes again."""

    def left(node: str) -> tuple[set[str], ...]:
        shown = (
            "ip route",
            "ip rule",
            "iptables-save | grep -o '^:KUBE-ROUTER[A-Z-]*'",
            "ipset list -name | grep ^kube-router",
        )
        return tuple(set(lab.ssh(node, command).splitlines()) for command in shown)

    before = {node: left(node) for node in NODES}
    lab.configure(sysctls={"vm.max_map_count": 262144})
    assert lab.restarts(lab.up) == set()
    for node in NODES:
        assert lab.ssh(node, "sysctl --values vm.max_map_count").strip() == "262144"
        for had, has in zip(before[node], left(node), strict=True):
            assert had <= has, kube_router.state(lab)
    assert lab.planned() == {}
    assert lab.verify() == []
    url = f"http://{addresses[WORKERS[1]]}:{PORT}/index.html"
    assert fetch(lab, WORKERS[0], url) == WORKERS[1], kube_router.state(lab)
