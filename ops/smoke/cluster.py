"""The cluster, reached by kubectl. No other module of this package calls kubectl."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ops.clients import CommandError
from ops.cluster import TIMEOUT, NamespacedCluster
from ops.smoke.objects import object_of_the_webhook
from system import console

ATTEMPTS = 4
"""Number of times that kubectl runs while its connection, or that of the API server to a kubelet, fails."""

PAUSE = 5.0
"""Seconds between two attempts."""

_WEBHOOK_ERROR = "failed calling webhook"


@dataclass(frozen=True)
class Cluster(NamespacedCluster):
    """A cluster with the objects of the test.

    Each method runs kubectl, a few times if a connection fails, and raises CommandError if that does not help.

    Attributes:
        retries: Description of each call that was repeated, and its error.
    """

    retries: list[str] = field(default_factory=list, init=False, compare=False)

    CLUSTER_WIDE: ClassVar[tuple[str, ...]] = ("validatingwebhookconfiguration",)

    def create(self, manifest: str) -> None:
        """Create the objects of a manifest. Unlike `kubectl create`, this can be repeated."""
        self._kubectl("apply", "--server-side", "--filename=-", stdin=manifest)

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

    def _kubectl(self, *arguments: str, stdin: str = "", namespace: str = "") -> str:
        for _ in range(ATTEMPTS - 1):
            try:
                return super()._kubectl(*arguments, stdin=stdin, namespace=namespace)
            except CommandError as error:
                # A webhook is what a check tests, and the check has its own limit.
                if not error.is_transient or _WEBHOOK_ERROR in str(error):
                    raise
                self.retries.append(f"kubectl {' '.join(arguments[:2])}: {error}")
                console.say(f"trying again: {self.retries[-1]}")
            time.sleep(PAUSE)
        return super()._kubectl(*arguments, stdin=stdin, namespace=namespace)
