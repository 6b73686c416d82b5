"""Workloads and queries of a running cluster."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab.versions import image_reference
from system import processes
from tests.support.running_lab import TIMEOUT, RunningLab, Service

WORKERS = ("node-0", "node-1")
"""The workers of the default stack."""
PORT = 8080
"""The port of the web server in the pod of `web_pod`."""
WGET = ("timeout", "60", "wget", "-q", "-O", "-")
"""Prints the response of a URL, in a container of busybox. An emulated node may need long for it."""

CLIENT = "cgi-bin/client"
"""The path of the page with the client's address, in a pod of `address_pod`."""

PRIVILEGED_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "a", "image": "a", "securityContext": {"privileged": True}}]},
}
"""A pod that PodSecurity refuses at the level `baseline`."""

_SERVE_ADDRESSES = f"""
mkdir -p /tmp/www/cgi-bin
hostname >/tmp/www/index.html
printf '#!/bin/sh\\necho\\necho "${{REMOTE_ADDR##*:}}"\\n' >/tmp/www/{CLIENT}
chmod +x /tmp/www/{CLIENT}
exec httpd -f -p {PORT} -h /tmp/www
"""

_RESTART = re.compile(
    r"(?P<service>[a-z-]+) on (?P<node>[a-z0-9-]+) will restart(?: after the node is drained)?: (?P<why>.+)"
)


def node_objects(lab: RunningLab) -> list[dict[str, Any]]:
    """Return all Nodes."""
    nodes: list[dict[str, Any]] = json.loads(lab.kubectl("get", "nodes", "--output=json"))["items"]
    return nodes


def ready(lab: RunningLab) -> set[str]:
    """Return the names of the nodes that are Ready."""
    return {
        node["metadata"]["name"]
        for node in node_objects(lab)
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def pod_restarts(lab: RunningLab) -> dict[str, int]:
    """Return the restarts of all containers of each pod that is not about to end, by the UID of the pod."""
    items = json.loads(lab.kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"]
    return {
        item["metadata"]["uid"]: sum(status["restartCount"] for status in item["status"].get("containerStatuses", ()))
        for item in items
        if "deletionTimestamp" not in item["metadata"]
    }


def emulators(lab: RunningLab) -> list[int]:
    """Return the PIDs of the QEMU processes of the lab."""
    network = lab.run("in-lab", "readlink", "/proc/self/ns/net").stdout.strip()
    found = []
    for pid in processes.every():
        try:
            name = Path(f"/proc/{pid}/comm").read_text()
            if name.startswith("qemu-system") and str(Path(f"/proc/{pid}/ns/net").readlink()) == network:
                found.append(pid)
        except OSError:
            continue  # it has ended
    return found


def configmaps(lab: RunningLab) -> set[str]:
    """Return the names of the ConfigMaps in the default namespace."""
    names = lab.kubectl("get", "configmaps", "--output=name").split()
    return {name.removeprefix("configmap/") for name in names} - {"kube-root-ca.crt"}


def applied(lab: RunningLab) -> dict[str, str]:
    """Return the digest of all applied files of each worker, and any leftovers of a transaction."""
    script = (
        "for manifest in /var/lib/hardway/services/*/applied/manifest; do"
        " grep -v ^image $manifest | cut -f 6; done | sort | xargs sha256sum | sha256sum;"
        " find / -xdev -name '*.hardway-new'; ls -d /var/lib/hardway/services/*/{before,next} 2>/dev/null || true"
    )
    return {worker: lab.ssh(worker, script) for worker in WORKERS}


def busybox_pod(name: str, node: str, script: str, readiness: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Return a pod on a node with a container of busybox.

    Args:
        name: The name of the pod.
        node: The name of the node.
        script: The script of sh that the container runs.
        readiness: The readiness probe, without times.
        metadata: Further metadata, such as `labels`.
    """
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **metadata},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {
                    "name": "web",
                    "image": image_reference("busybox"),
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", script],
                    # With shorter times, pods of a slow node become unready now and then.
                    "readinessProbe": {**readiness, "periodSeconds": 2, "timeoutSeconds": 20},
                }
            ],
        },
    }


def web_pod(node: str) -> dict[str, Any]:
    """Return a pod on a node with a web server that answers with the node's name."""
    serve = f"echo {node} > /tmp/index.html; exec httpd -f -v -p {PORT} -h /tmp"
    readiness = {"httpGet": {"path": "/index.html", "port": PORT}}
    return busybox_pod(f"web-{node}", node, serve, readiness, labels={"app": "web"})


def address_pod(name: str, node: str, **metadata: Any) -> dict[str, Any]:
    """Return a pod on a node with a web server, which has its own name at `/` and its client's address at CLIENT.

    Args:
        name: The name of the pod.
        node: The name of the node.
        metadata: Further metadata, such as `labels`.
    """
    return busybox_pod(name, node, _SERVE_ADDRESSES, {"tcpSocket": {"port": PORT}}, **metadata)


def client_address(answer: str) -> str:
    """Return the address in the answer at CLIENT, which ends with a bracket."""
    return answer.strip().rstrip("]")


def wait_for_pods(lab: RunningLab, namespace: str = "default") -> None:
    """Wait until all pods of a namespace are ready. If they do not become so, fail with their events and logs."""
    scope = f"--namespace={namespace}"
    ready = ("wait", "--for=condition=Ready", "pods", "--all", scope, f"--timeout={TIMEOUT}s")
    result = lab.run("kubectl", *ready, check=False)
    if result.returncode != 0:
        described = lab.kubectl("describe", "pods", scope, check=False)
        names = lab.kubectl("get", "pods", scope, "--output=name", check=False).split()
        logs = [lab.run("kubectl", "logs", name, scope, "--prefix", "--tail=20", check=False) for name in names]
        texts = [result.stderr, described, *(text for each in logs for text in (each.stdout, each.stderr))]
        raise AssertionError("\n".join(texts))


def fetch(lab: RunningLab, worker: str, url: str) -> str:
    """Return the response to a request from the web pod of a worker, or the error of wget."""
    result = lab.run("kubectl", "exec", f"web-{worker}", "--", *WGET, url, check=False)
    return result.stdout.strip() or result.stderr


def pod_starts(lab: RunningLab) -> str:
    """Return the start time and restart count of every container of every pod."""
    path = "{range .items[*]}{.metadata.uid} {.status.containerStatuses[*].state.running.startedAt}"
    return lab.kubectl(
        "get",
        "pods",
        "--all-namespaces",
        f"--output=jsonpath={path} {{.status.containerStatuses[*].restartCount}}{{end}}",
    )


def announced_restarts(preview: str) -> set[Service]:
    """Return the services that a preview says will restart."""
    return {(found["node"], found["service"]) for found in _RESTART.finditer(preview)}
