"""NetworkPolicies, the modes of kube-proxy, and what others leave on a node, on real VMs."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import yaml

from tests.support.cluster import PORT, WORKERS, busybox_pod, wait_for_pods
from tests.support.policies import policy
from tests.support.running_lab import RunningLab, wait_for, wait_for_text

NAMESPACE, OTHER = "policies", "policies-other"
OTHER_PORT = 8081
SERVICE_PORT = 80
CLIENTS = {"neighbor": (NAMESPACE, WORKERS[0]), "friend": (NAMESPACE, WORKERS[1]), "outsider": (OTHER, WORKERS[1])}
"""The namespace and node of each client. The server is on the neighbor's node, on the same bridge."""


def pod(name: str, namespace: str, node: str) -> dict[str, Any]:
    """Return a pod with a web server on two ports, whose label `app` is its name."""
    serve = f"mkdir /tmp/www; echo here >/tmp/www/index.html; httpd -p {OTHER_PORT} -h /tmp/www"
    serve += f"; exec httpd -f -p {PORT} -h /tmp/www"
    return busybox_pod(name, node, serve, {"tcpSocket": {"port": PORT}}, namespace=namespace, labels={"app": name})


@pytest.fixture(scope="module")
def addresses(lab: RunningLab) -> Iterator[tuple[str, str]]:
    """The addresses of the server and of the Service over it."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": SERVICE_PORT, "targetPort": PORT}]},
    }
    objects = [
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (NAMESPACE, OTHER)),
        pod("server", NAMESPACE, WORKERS[0]),
        service,
        *(pod(name, namespace, node) for name, (namespace, node) in CLIENTS.items()),
    ]
    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
    for namespace in (NAMESPACE, OTHER):
        wait_for_pods(lab, namespace)
    scope = f"--namespace={NAMESPACE}"
    pod_address, service_address = (
        lab.kubectl("get", kind, "server", scope, f"--output=jsonpath={{{field}}}")
        for kind, field in (("pod", ".status.podIP"), ("service", ".spec.clusterIP"))
    )
    yield pod_address, service_address
    lab.kubectl("delete", "namespace", NAMESPACE, OTHER, "--wait")


def reaches(lab: RunningLab, url: str, client: str) -> bool:
    """Return True if a client gets a response."""
    fetch = ("timeout", "10", "wget", "-q", "-O", "-", url)
    command = ("kubectl", "exec", client, f"--namespace={CLIENTS[client][0]}", "--", *fetch)
    return lab.run(*command, check=False).returncode == 0


def reaching(lab: RunningLab, url: str) -> set[str]:
    """Return the clients that get a response."""
    with ThreadPoolExecutor() as pool:
        found = pool.map(partial(reaches, lab, url), CLIENTS)
    return {client for client, reached in zip(CLIENTS, found, strict=True) if reached}


def test_policies_are_enforced(lab: RunningLab, addresses: tuple[str, str]) -> None:
    address, service_address = addresses
    pod_url, other_url = (f"http://{address}:{port}/" for port in (PORT, OTHER_PORT))
    service_url = f"http://{service_address}:{SERVICE_PORT}/"

    def expect_for(url: str, what: str, clients: set[str]) -> None:
        """Wait until exactly these clients get a response."""
        expected = f"{what}, {url}: {sorted(clients)}"
        wait_for_text(expected, lambda: f"{what}, {url}: {sorted(reaching(lab, url))}", timeout=180)

    def expect(what: str, clients: set[str], *policies: dict[str, Any]) -> None:
        """Apply exactly these policies, and wait until exactly these clients reach the server."""
        lab.kubectl("delete", "networkpolicies", "--all", f"--namespace={NAMESPACE}")
        if policies:
            lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(policies))
        expect_for(pod_url, what, clients)

    rule = partial(policy, namespace=NAMESPACE)
    deny = rule("deny", ingress=[])
    here, namespace = (
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} for name in (NAMESPACE, OTHER)
    )
    friend = {"podSelector": {"matchLabels": {"app": "friend"}}}
    server = {"podSelector": {"matchLabels": {"app": "server"}}}
    neighbors = {"ipBlock": {"cidr": lab.workers[0]["podCidr"]}}
    expect("without policies", set(CLIENTS))
    expect_for(service_url, "without policies", set(CLIENTS))
    expect_for(other_url, "without policies", set(CLIENTS))
    expect("default deny", set(), deny)
    expect("ingress by pod", {"friend"}, deny, rule("allow", app="server", ingress=[friend]))
    expect_for(service_url, "ingress by pod", {"friend"})
    expect_for(other_url, "ingress by pod", {"friend"})
    expect("ingress by port", {"friend"}, deny, rule("allow", app="server", port=PORT, ingress=[friend]))
    expect_for(other_url, "ingress by port", set())
    expect("ingress by namespace", {"outsider"}, deny, rule("allow", app="server", ingress=[namespace]))
    expect("ingress by CIDR", {"neighbor"}, deny, rule("allow", app="server", ingress=[neighbors]))
    egress = rule("egress", egress=[])
    expect("default deny of egress", {"outsider"}, egress)
    expect("egress by pod", {"friend", "outsider"}, egress, rule("allow", app="friend", egress=[server]))
    expect_for(service_url, "egress by pod", {"friend", "outsider"})
    by_namespace = (rule("here", app="friend", egress=[here]), rule("other", app="neighbor", egress=[namespace]))
    expect("egress by namespace", {"friend", "outsider"}, egress, *by_namespace)
    by_port = (
        rule("web", app="friend", port=PORT, egress=[server]),
        rule("other", app="neighbor", port=OTHER_PORT, egress=[server]),
    )
    expect("egress by port", {"friend", "outsider"}, egress, *by_port)
    expect_for(other_url, "egress by port", {"neighbor", "outsider"})
    block = {"ipBlock": {"cidr": f"{address}/32"}}
    expect("egress by CIDR", {"neighbor", "outsider"}, egress, rule("allow", app="neighbor", egress=[block]))
    elsewhere = {"ipBlock": {"cidr": "10.200.0.0/16", "except": [f"{address}/32"]}}
    expect("egress by CIDR with exceptions", {"outsider"}, egress, rule("allow", app="neighbor", egress=[elsewhere]))
    expect("without policies again", set(CLIENTS))


def rules(lab: RunningLab, node: str) -> set[str]:
    """Return the modes of kube-proxy that have rules on a node."""
    found = {
        "iptables": "iptables-save | grep -qE '^:KUBE-(SVC-|EXTERNAL-SERVICES)'",
        "ipvs": "[ -e /sys/class/net/kube-ipvs0 ] || ipvsadm --list --numeric | grep -q ' rr$'",
        "nftables": "nft list tables | grep -q ' kube-proxy$'",
    }
    script = "; ".join(f"if {check}; then echo {mode}; fi" for mode, check in found.items())
    return set(lab.ssh(node, script).split())


def wait_for_only_rules(lab: RunningLab, node: str, mode: str) -> None:
    """Wait until a node has rules of one mode only."""
    wait_for(f"only the rules of {mode}", lambda: rules(lab, node) == {mode})


def test_every_change_of_the_mode_leaves_nothing_behind(lab: RunningLab) -> None:
    service = "curl --insecure --silent --max-time 20 https://10.32.0.1/livez >/dev/null && echo reached"
    workers = lab.workers
    for mode in ("nftables", "ipvs", "iptables", "ipvs", "nftables"):
        with lab.configured(workers=[workers[0], {**workers[1], "kubeProxy": {"mode": mode}}]):
            outcome = lab.up()
            assert outcome.succeeded, outcome.output
        wait_for_only_rules(lab, WORKERS[1], mode)
        wait_for("the node reaches a Service", lambda: "reached" in lab.ssh(WORKERS[1], service, check=False))
    assert lab.up().succeeded
    wait_for_only_rules(lab, WORKERS[1], "iptables")


def test_what_others_leave_is_found(lab: RunningLab) -> None:
    node, drop_in = WORKERS[1], "/etc/systemd/system/kubelet.service.d"
    left = {
        "/etc/cni/net.d/05-x.conflist": "echo '{}' >/etc/cni/net.d/05-x.conflist",
        f"{drop_in}/x.conf": f"mkdir {drop_in}; printf '[Service]\\nNice=1\\n' >{drop_in}/x.conf",
        "chain FORWARD of table ip filter": "iptables --policy FORWARD DROP",
    }
    lab.ssh(node, "; ".join(left.values()))
    try:
        found = {(each["node"], each["service"], each["subject"]) for each in lab.verify()}
    finally:
        lab.ssh(node, f"iptables --policy FORWARD ACCEPT; rm -r {drop_in} /etc/cni/net.d/05-x.conflist")
    assert {(node, "", place) for place in left} <= found
    wait_for("no difference", lambda: lab.verify() == [])
