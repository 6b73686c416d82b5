"""The cluster as kubectl shows it. Nothing else of this package asks it anything."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.clients import output

PATIENCE = 600
"""Seconds that pods may take to start and a namespace to go: an emulated node is slow, and images may still come in."""


@dataclass(frozen=True)
class Cluster:
    """The cluster that a kubeconfig leads to, seen through one namespace of it.

    Each method is one call of kubectl and raises CommandError where that fails.
    """

    kubeconfig: Path
    namespace: str

    def create(self, manifest: str) -> None:
        """Makes the objects of a manifest."""
        self._kubectl("create", "--filename=-", stdin=manifest)

    def wait_for_daemon_set(self, name: str) -> None:
        """Returns once a DaemonSet has a ready pod on every node that it is for."""
        self._kubectl("rollout", "status", f"daemonset/{name}", f"--timeout={PATIENCE}s")

    def pods_and_services(self) -> list[dict[str, Any]]:
        """The pods and Services of the namespace, as the API has them."""
        items: list[dict[str, Any]] = json.loads(self._kubectl("get", "pods,services", "--output=json"))["items"]
        return items

    def has_dns(self) -> bool:
        """Whether there is a Service for DNS."""
        question = ("get", "service", "kube-dns", "--ignore-not-found", "--output=name")
        return self._kubectl(*question, namespace="kube-system").strip() != ""

    def execute(self, pod: str, command: Sequence[str]) -> str:
        """What a command prints in a pod."""
        return self._kubectl("exec", pod, "--", *command)

    def logs(self, app: str) -> str:
        """What all pods of an app have written, each line after `[pod/NAME/CONTAINER] `; nothing of those that fail."""
        return self._kubectl("logs", f"--selector=app={app}", "--prefix", "--tail=-1", "--ignore-errors")

    def remove(self) -> None:
        """Deletes the namespace, be it there or not, and returns once all of it is gone."""
        self._kubectl("delete", "namespace", self.namespace, "--ignore-not-found", f"--timeout={PATIENCE}s")

    def _kubectl(self, *arguments: str, stdin: str = "", namespace: str = "") -> str:
        command = ("kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={namespace or self.namespace}")
        # In a session of its own a Ctrl-C, which is for this process to act upon, does not reach it.
        return output([*command, *arguments], stdin=stdin, own_session=True)
