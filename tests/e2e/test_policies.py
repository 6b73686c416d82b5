"""NetworkPolicies, the modes of kube-proxy, and what others leave on a node, on real VMs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.cluster import PORT, WORKERS, busybox_pod
from tests.support.running_lab import RunningLab, wait_for

NAMESPACE, OTHER = "policies", "policies-other"
CLIENTS = {"neighbor": (NAMESPACE, WORKERS[0]), "friend": (NAMESPACE, WORKERS[1]), "outsider": (OTHER, WORKERS[1])}
"""The namespace and node of each client. The server is on the neighbor's node, on the same bridge."""


def pod(name: str, namespace: str, node: str) -> dict[str, Any]:
    """Return a pod with a web server, whose label `app` is its name."""
    serve = f"mkdir /tmp/www; echo here >/tmp/www/index.html; exec httpd -f -p {PORT} -h /tmp/www"
    return busybox_pod(name, node, serve, {"tcpSocket": {"port": PORT}}, namespace=namespace, labels={"app": name})


def policy(name: str, app: str | None = None, **directions: Any) -> dict[str, Any]:
    """Return a NetworkPolicy for the pods of an app, or for all pods.

    Args:
        name: The name of the policy.
        app: The app.
        directions: `ingress` or `egress`, each with the allowed peers.
    """
    peers = {"ingress": "from", "egress": "to"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "podSelector": {"matchLabels": {"app": app}} if app else {},
            "policyTypes": [direction.title() for direction in directions],
            **{name: [{peers[name]: [peer]} for peer in allowed] for name, allowed in directions.items()},
        },
    }


@pytest.fixture(scope="module")
def address(lab: RunningLab) -> Iterator[str]:
    """The address of the server."""
    objects = [
        *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in (NAMESPACE, OTHER)),
        pod("server", NAMESPACE, WORKERS[0]),
        *(pod(name, namespace, node) for name, (namespace, node) in CLIENTS.items()),
    ]
    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
    for namespace in (NAMESPACE, OTHER):
        lab.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--namespace={namespace}", "--timeout=900s")
    server = json.loads(lab.kubectl("get", "pod", "server", f"--namespace={NAMESPACE}", "--output=json"))
    yield server["status"]["podIP"]
    lab.kubectl("delete", "namespace", NAMESPACE, OTHER, "--wait")


def reaching(lab: RunningLab, address: str) -> set[str]:
    """Return the clients that reach the server."""
    url = f"http://{address}:{PORT}/"
    return {
        name
        for name, (namespace, _) in CLIENTS.items()
        if lab.run(
            *("kubectl", "exec", name, f"--namespace={namespace}", "--", "timeout", "10", "wget", "-q", "-O", "-", url),
            check=False,
        ).returncode
        == 0
    }


def test_policies_are_enforced(lab: RunningLab, address: str) -> None:
    def expect(what: str, clients: set[str], *policies: dict[str, Any]) -> None:
        """Apply exactly these policies, and wait until exactly these clients reach the server."""
        lab.kubectl("delete", "networkpolicies", "--all", f"--namespace={NAMESPACE}")
        if policies:
            lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(policies))
        wait_for(what, lambda: reaching(lab, address) == clients, timeout=180)

    deny = policy("deny", ingress=[])
    namespace = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": OTHER}}}
    friend = {"podSelector": {"matchLabels": {"app": "friend"}}}
    server = {"podSelector": {"matchLabels": {"app": "server"}}}
    neighbors = {"ipBlock": {"cidr": lab.workers[0]["podCidr"]}}
    expect("without policies, everybody reaches the server", set(CLIENTS))
    expect("default deny", set(), deny)
    expect("ingress by pod", {"friend"}, deny, policy("allow", "server", ingress=[friend]))
    expect("ingress by namespace", {"outsider"}, deny, policy("allow", "server", ingress=[namespace]))
    expect("ingress by CIDR", {"neighbor"}, deny, policy("allow", "server", ingress=[neighbors]))
    egress = policy("egress", egress=[])
    expect("default deny of egress", {"outsider"}, egress)
    expect("egress by pod", {"friend", "outsider"}, egress, policy("allow", "friend", egress=[server]))
    block = {"ipBlock": {"cidr": f"{address}/32"}}
    expect("egress by CIDR", {"neighbor", "outsider"}, egress, policy("allow", "neighbor", egress=[block]))
    elsewhere = {"ipBlock": {"cidr": "10.200.0.0/16", "except": [f"{address}/32"]}}
    expect("egress by CIDR with exceptions", {"outsider"}, egress, policy("allow", "neighbor", egress=[elsewhere]))
    expect("without policies again, everybody reaches the server", set(CLIENTS))


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
