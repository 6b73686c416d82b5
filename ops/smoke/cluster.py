"""The cluster, reached by kubectl. No other module of this package calls kubectl."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.clients import output
from ops.smoke.objects import object_of_the_webhook

TIMEOUT = 600
"""Seconds that pods may take to start and a namespace to disappear: an emulated node is slow, and may still import
images."""


@dataclass(frozen=True)
class Cluster:
    """A cluster, limited to one namespace.

    Each method runs kubectl once and raises CommandError if that fails.

    Attributes:
        kubeconfig: Path of the kubeconfig.
        namespace: Namespace of all objects.
    """

    kubeconfig: Path
    namespace: str

    def create(self, manifest: str) -> None:
        """Create the objects of a manifest."""
        self._kubectl("create", "--filename=-", stdin=manifest)

    def wait_for_daemon_set(self, name: str) -> None:
        """Wait until a DaemonSet has a ready pod on each of its nodes."""
        self._kubectl("rollout", "status", f"daemonset/{name}", f"--timeout={TIMEOUT}s")

    def pods_and_services(self) -> list[dict[str, Any]]:
        """Return the pods and Services of the namespace, as in the API."""
        items: list[dict[str, Any]] = json.loads(self._kubectl("get", "pods,services", "--output=json"))["items"]
        return items

    def has_dns(self) -> bool:
        """Return True if the cluster has a DNS Service."""
        arguments = ("get", "service", "kube-dns", "--ignore-not-found", "--output=name")
        return self._kubectl(*arguments, namespace="kube-system").strip() != ""

    def measured_nodes(self) -> list[str] | None:
        """Return the nodes in metrics.k8s.io, an API of the aggregation layer. None if the cluster has no such API."""
        api = "apiservice/v1beta1.metrics.k8s.io"
        if not self._kubectl("get", api, "--ignore-not-found", "--output=name").strip():
            return None
        self._kubectl("wait", api, "--for=condition=Available", f"--timeout={TIMEOUT}s")
        answer = json.loads(self._kubectl("get", "--raw=/apis/metrics.k8s.io/v1beta1/nodes"))
        return [item["metadata"]["name"] for item in answer["items"]]

    def create_for_webhook(self) -> None:
        """Create an object that needs the webhook. It is not stored."""
        self._kubectl("create", "--dry-run=server", "--filename=-", stdin=object_of_the_webhook(self.namespace))

    def execute(self, pod: str, command: Sequence[str]) -> str:
        """Run a command in a pod and return its output."""
        return self._kubectl("exec", pod, "--", *command)

    def logs(self, app: str) -> str:
        """Return the logs of all pods of an app, each line after `[pod/NAME/CONTAINER] `. Failing pods are left out."""
        return self._kubectl("logs", f"--selector=app={app}", "--prefix", "--tail=-1", "--ignore-errors")

    def remove(self) -> None:
        """Delete the webhook and the namespace if they exist, and wait until all of it is gone."""
        objects = [f"{kind}/{self.namespace}" for kind in ("validatingwebhookconfiguration", "namespace")]
        self._kubectl("delete", *objects, "--ignore-not-found", f"--timeout={TIMEOUT}s")

    def _kubectl(self, *arguments: str, stdin: str = "", namespace: str = "") -> str:
        command = ("kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={namespace or self.namespace}")
        # In a separate session Ctrl-C does not reach kubectl: this process handles it and cleans up.
        return output([*command, *arguments], stdin=stdin, own_session=True)
