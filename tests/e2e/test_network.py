"""The network model on real VMs: addresses, what is rejected, API server to pods, hostPort, refused changes."""

import json
import shlex
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.certificates import AUTHORITY, pair
from tests.support.cluster import (
    CLIENT,
    PORT,
    WGET,
    WORKERS,
    address_pod,
    busybox_pod,
    client_address,
    wait_for_pods,
)
from tests.support.go_programs import build
from tests.support.running_lab import RunningLab, wait_for_text

HOST_PORT = 8095
HOOK_PORT = 8443
"""The port of `network-server`, for TLS and for datagrams."""
NAMESPACE = "network"
GROUP = "network.example.com"
ON_NODE = "/opt/hardway-network-test"
"""The folder of `network-server` on its node."""

Port = dict[str, Any]
"""A port of a container."""


def web(name: str, node: str, port: Port) -> dict[str, Any]:
    """Return a pod on a node that answers with its name and with the address of its client."""
    return with_port(address_pod(name, node, namespace=NAMESPACE, labels={"app": name}), port)


def hook(port: Port) -> dict[str, Any]:
    """Return the pod of `network-server`, which runs on the first worker."""
    serve = "exec /program/network-server /tls/tls.crt /tls/tls.key"
    readiness = {"tcpSocket": {"port": HOOK_PORT}}
    pod = busybox_pod("hook", WORKERS[0], serve, readiness, namespace=NAMESPACE, labels={"app": "hook"})
    pod["spec"]["volumes"] = [
        {"name": "program", "hostPath": {"path": ON_NODE, "type": "Directory"}},
        {"name": "tls", "secret": {"secretName": "hook"}},
    ]
    [container] = pod["spec"]["containers"]
    container["volumeMounts"] = [
        {"name": name, "mountPath": f"/{name}", "readOnly": True} for name in ("program", "tls")
    ]
    return with_port(pod, port)


def with_port(pod: dict[str, Any], port: Port) -> dict[str, Any]:
    """Return a pod whose container has a port."""
    [container] = pod["spec"]["containers"]
    container["ports"] = [port]
    return pod


def certificate() -> dict[str, Any]:
    """Return the Secret with the certificate of `network-server`."""
    texts = dict(zip(("tls.crt", "tls.key"), pair("hook", names=(f"hook.{NAMESPACE}.svc",)), strict=True))
    metadata = {"name": "hook", "namespace": NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "stringData": texts,
    }


def service(name: str, app: str, port: int, target: int) -> dict[str, Any]:
    """Return a Service over the pods of an app."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": {"app": app}, "ports": [{"name": "web", "port": port, "targetPort": target}]},
    }


def hook_client() -> dict[str, Any]:
    """Return how the API server calls `network-server`."""
    authority, _ = pair(AUTHORITY)
    return {
        "service": {"name": "hook", "namespace": NAMESPACE},
        "caBundle": b64encode(authority.encode()).decode(),
    }


def admission_webhook() -> dict[str, Any]:
    """Return the webhook for ConfigMaps of the namespace."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "network-test"},
        "webhooks": [
            {
                "name": GROUP,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": hook_client(),
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            }
        ],
    }


def converted_resource() -> dict[str, Any]:
    """Return a CustomResourceDefinition that is stored as v1, and that the webhook converts to v2."""
    fields = {"v1": "host", "v2": "hostname"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"entries.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "entries", "singular": "entry", "kind": "Entry"},
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": hook_client()},
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == "v1",
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {field: {"type": "string"}}}},
                }
                for version, field in fields.items()
            ],
        },
    }


@pytest.fixture(scope="module")
def addresses(lab: RunningLab) -> Iterator[dict[str, str]]:
    """The addresses of the pods and of the Services, by name.

    Three pods are on the first worker. They share a port of the node on different addresses and protocols.
    """
    first = lab.nodes[WORKERS[0]]["address"]
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        certificate(),
        web("one", WORKERS[0], {"containerPort": PORT, "hostPort": HOST_PORT, "hostIP": "127.0.0.1"}),
        web("twin", WORKERS[0], {"containerPort": PORT, "hostPort": HOST_PORT, "hostIP": first}),
        hook({"containerPort": HOOK_PORT, "hostPort": HOST_PORT, "hostIP": first, "protocol": "UDP"}),
        web("other", WORKERS[1], {"containerPort": PORT, "hostPort": HOST_PORT}),
        service("web", "other", 80, PORT),
        service("hook", "hook", 443, HOOK_PORT),
    ]
    configuration = str(lab.workspace.access(lab.stack) / "ssh_config")
    lab.ssh(WORKERS[0], f"mkdir -p {ON_NODE}")
    lab.run("scp", "-q", "-F", configuration, str(build("network-server", ".")), f"{WORKERS[0]}:{ON_NODE}")
    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump_all(objects))
    wait_for_pods(lab, NAMESPACE)
    items = json.loads(lab.kubectl("get", "pods,services", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    # The Service of a pod with the same name has another address.
    pods_last = sorted(items, key=lambda item: item["kind"] == "Pod")
    yield {item["metadata"]["name"]: item["status"].get("podIP") or item["spec"]["clusterIP"] for item in pods_last}
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait")
    lab.ssh(WORKERS[0], f"rm -r {ON_NODE}")


def from_pod(lab: RunningLab, pod: str, address: str, port: int = PORT) -> str:
    """Return the address that a server saw, or the error of the client in a pod."""
    return client_address(page(lab, pod, f"http://{address}:{port}/{CLIENT}"))


def page(lab: RunningLab, pod: str, url: str) -> str:
    """Return the response to a request from a pod, or the error of the client."""
    result = lab.run("kubectl", "exec", pod, f"--namespace={NAMESPACE}", "--", *WGET, url, check=False)
    return result.stdout or result.stderr


def from_node(lab: RunningLab, node: str, address: str, port: int = PORT) -> str:
    """Return the address that a server saw, or the error of the client on a node."""
    request = f"curl -sS --max-time 20 http://{address}:{port}/{CLIENT} 2>&1"
    return client_address(lab.ssh(node, request, check=False))


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


def test_api_server_forwards_requests_to_a_pod_and_a_service(lab: RunningLab, addresses: dict[str, str]) -> None:
    """The pod sees the address of the API server's node."""
    assert addresses
    for path in (f"pods/other:{PORT}", "services/web:web"):
        request = ("get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/{path}/proxy/{CLIENT}")

        def answer(request: tuple[str, ...] = request) -> str:
            result = lab.run("kubectl", *request, check=False)
            return result.stdout + result.stderr

        wait_for_text(f"{lab.nodes['server']['address']}]", answer)


def test_webhook_denies_one_object_and_admits_another(lab: RunningLab, addresses: dict[str, str]) -> None:
    assert addresses

    def create(name: str) -> str:
        """Return the output of the API server about a new ConfigMap, which it does not store."""
        arguments = ("create", "configmap", name, f"--namespace={NAMESPACE}", "--dry-run=server")
        result = lab.run("kubectl", *arguments, check=False)
        return result.stdout + result.stderr

    lab.kubectl("apply", "--filename=-", stdin=yaml.safe_dump(admission_webhook()))
    try:
        wait_for_text(f'"{GROUP}" denied the request: the name of the object is denied', lambda: create("denied"))
        admitted = create("welcome")
        assert "the webhook admitted welcome" in admitted
        assert "configmap/welcome created" in admitted
    finally:
        lab.kubectl("delete", "--filename=-", stdin=yaml.safe_dump(admission_webhook()))


def test_webhook_converts_an_object_between_versions(lab: RunningLab, addresses: dict[str, str]) -> None:
    assert addresses
    metadata = {"name": "entry", "namespace": NAMESPACE}
    entry = {"apiVersion": f"{GROUP}/v2", "kind": "Entry", "metadata": metadata, "hostname": "example"}
    definition = yaml.safe_dump(converted_resource())

    def create() -> str:
        result = lab.run("kubectl", "apply", "--filename=-", stdin=yaml.safe_dump(entry), check=False)
        return result.stdout + result.stderr

    lab.kubectl("apply", "--filename=-", stdin=definition)
    try:
        # The API server serves a new resource after a delay. It stores the object as v1.
        wait_for_text(f"entry.{GROUP}/entry ", create)
        for version, field in (("v1", "host"), ("v2", "hostname")):
            read = ("get", f"entries.{version}.{GROUP}", "entry", f"--namespace={NAMESPACE}")
            assert lab.kubectl(*read, f"--output=jsonpath={{.{field}}}") == "example"
    finally:
        # Before the pod is deleted, because without conversion the objects cannot be deleted.
        lab.kubectl("delete", "--filename=-", "--timeout=300s", stdin=definition)


def test_host_port_reaches_the_pod(lab: RunningLab, addresses: dict[str, str]) -> None:
    assert from_pod(lab, "one", lab.nodes[WORKERS[1]]["address"], HOST_PORT) == addresses["one"]


def test_pods_share_a_host_port_on_different_addresses_and_protocols(
    lab: RunningLab, addresses: dict[str, str]
) -> None:
    assert addresses
    first = lab.nodes[WORKERS[0]]["address"]
    web_page = f"curl -sS --max-time 20 http://{{}}:{HOST_PORT}/ 2>&1"
    send = f"exec 3<>/dev/udp/{first}/{HOST_PORT}; echo ask >&3; timeout 20 head -n 1 <&3"
    datagram = f"bash -c {shlex.quote(send)} 2>&1 || echo no answer to a datagram"
    assert page(lab, "other", f"http://{first}:{HOST_PORT}/").strip() == "twin"
    assert lab.ssh(WORKERS[0], web_page.format(first), check=False).strip() == "twin"
    assert lab.ssh(WORKERS[0], web_page.format("127.0.0.1"), check=False).strip() == "one"
    # A datagram may get lost.
    wait_for_text("hook", lambda: lab.ssh(WORKERS[1], datagram, check=False), timeout=120)


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
