"""The network model on real VMs: addresses, what is rejected, API server to Services, hostPort, refused changes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.cluster import PORT, WGET, WORKERS, busybox_pod
from tests.support.running_lab import RunningLab, wait_for

HOST_PORT = 8095
REFUSING_PORT = 8443
NAMESPACE = "network"
SERVE = f"""
mkdir -p /tmp/www/cgi-bin
printf '#!/bin/sh\\necho\\necho "${{REMOTE_ADDR##*:}}"\\n' >/tmp/www/cgi-bin/client
printf '#!/bin/sh\\nprintf "HTTP/1.0 400 Bad Request\\\\r\\\\n\\\\r\\\\n"\\nsleep 1\\n' >/tmp/refuse
chmod +x /tmp/www/cgi-bin/client /tmp/refuse
nc -ll -p {REFUSING_PORT} -e /tmp/refuse &
exec httpd -f -p {PORT} -h /tmp/www
"""
"""A web server that answers with the address of its client and a bracket, and one that refuses everything.

The second one answers at once. A web server would wait for the end of a line, which TLS may not send.
"""


def server(name: str, node: str, host_port: int | None = None) -> dict[str, Any]:
    """Return a pod on a node that answers with the address of its client."""
    pod = busybox_pod(name, node, SERVE, {"tcpSocket": {"port": PORT}}, namespace=NAMESPACE, labels={"app": name})
    [container] = pod["spec"]["containers"]
    container["ports"] = [{"containerPort": PORT, **({"hostPort": host_port} if host_port else {})}]
    return pod


def service() -> dict[str, Any]:
    """Return a Service over the pod on the second worker."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "other"}, "ports": [{"port": 443, "targetPort": REFUSING_PORT}]},
    }


def webhook() -> dict[str, Any]:
    """Return a webhook of the Service for ConfigMaps of the namespace."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "network-test"},
        "webhooks": [
            {
                "name": "network.example.com",
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"service": {"name": "web", "namespace": NAMESPACE}},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            }
        ],
    }


@pytest.fixture(scope="module")
def addresses(lab: RunningLab) -> Iterator[dict[str, str]]:
    """The addresses of the pods and of the Service, by name. Two pods are on the first worker, one on the second."""
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        server("one", WORKERS[0], HOST_PORT),
        server("twin", WORKERS[0]),
        server("other", WORKERS[1]),
        service(),
    ]
    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
    lab.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--namespace={NAMESPACE}", "--timeout=900s")
    items = json.loads(lab.kubectl("get", "pods,services", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    yield {item["metadata"]["name"]: item["status"].get("podIP") or item["spec"].get("clusterIP", "") for item in items}
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait")


def seen(answer: str) -> str:
    """Return the address in an answer."""
    return answer.strip().rstrip("]")


def from_pod(lab: RunningLab, pod: str, address: str, port: int = PORT) -> str:
    """Return the address that a server saw, or the error of the client in a pod."""
    url = f"http://{address}:{port}/cgi-bin/client"
    command = ("exec", pod, f"--namespace={NAMESPACE}", "--", *WGET, url)
    result = lab.run("kubectl", *command, check=False)
    return seen(result.stdout) or result.stderr


def from_node(lab: RunningLab, node: str, address: str, port: int = PORT) -> str:
    """Return the address that a server saw, or the error of the client on a node."""
    return seen(lab.ssh(node, f"curl -sS --max-time 20 http://{address}:{port}/cgi-bin/client 2>&1", check=False))


def test_pod_sees_the_address_of_a_pod(lab: RunningLab, addresses: dict[str, str]) -> None:
    assert from_pod(lab, "one", addresses["other"]) == addresses["one"]
    assert from_pod(lab, "one", addresses["twin"]) == addresses["one"]


def test_pod_sees_the_address_of_a_node(lab: RunningLab, addresses: dict[str, str]) -> None:
    for node in ("server", WORKERS[0]):
        assert from_node(lab, node, addresses["other"]) == lab.nodes[node]["address"]


def test_address_that_nothing_answers_is_rejected(lab: RunningLab, addresses: dict[str, str]) -> None:
    missing = f"{addresses['other'].rsplit('.', 2)[0]}.99.9"
    for port, address, reason in ((81, addresses["web"], "refused"), (PORT, missing, "No route to host")):
        assert reason in from_pod(lab, "one", address, port)
    for node in ("server", WORKERS[0]):
        assert "(7)" in from_node(lab, node, addresses["web"], 81)
        assert "(7)" in from_node(lab, node, missing)


def test_api_server_reaches_a_webhook(lab: RunningLab, addresses: dict[str, str]) -> None:
    """The pod behind the Service does not speak TLS, and the API server reports that. So it has reached the pod."""
    assert addresses
    create = ("create", "configmap", "tried", f"--namespace={NAMESPACE}", "--dry-run=server")
    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(webhook()))

    def pod_answers() -> bool:
        error = lab.run("kubectl", *create, check=False).stderr
        return "server gave HTTP response to HTTPS client" in error

    try:
        wait_for("the API server calls the webhook", pod_answers)
    finally:
        lab.kubectl("delete", "--filename=-", stdin=yaml.safe_dump(webhook()))


def test_host_port_reaches_the_pod(lab: RunningLab, addresses: dict[str, str]) -> None:
    assert from_pod(lab, "other", lab.nodes[WORKERS[0]]["address"], HOST_PORT) == addresses["other"]


def test_node_has_its_pod_cidr(lab: RunningLab) -> None:
    for worker in lab.workers:
        spec = json.loads(lab.kubectl("get", "node", worker["name"], "--output=jsonpath={.spec}"))
        assert (spec["podCIDR"], spec["podCIDRs"]) == (worker["podCidr"], [worker["podCidr"]])


def test_another_bridge_is_refused_while_pods_run(lab: RunningLab, addresses: dict[str, str]) -> None:
    with lab.configured(cni={"bridge": "br9"}):
        outcome = lab.up()
    assert not outcome.succeeded
    assert "refused before anything was changed" in outcome.output
    assert (
        "The bridge of the pods (cni.bridge) cannot change from cnio0 to br9 while the node has pods." in outcome.output
    )
    assert lab.up().succeeded
    assert from_pod(lab, "one", addresses["other"]) == addresses["one"]
