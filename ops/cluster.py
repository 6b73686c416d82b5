"""The cluster of a stack, reached by kubectl, for programs that work in their own namespace."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from host.workspace import Workspace, command_line
from lab.outputs import NodeOutputs, StackOutputs
from ops.clients import CommandError, output
from system import console
from system.errors import HardwayError
from system.files import CHECKOUT

WORKSPACE = Workspace(CHECKOUT)

TIMEOUT = 600
"""Seconds that pods may take to start and a namespace to disappear: an emulated node is slow, and may still import
images."""


class NotUpError(HardwayError):
    """The stack has no cluster to test. The message names the next step."""


def nodes_with_pods(outputs: StackOutputs[str], stack: str) -> Mapping[str, NodeOutputs]:
    """Return the nodes of a stack that run pods, by name.

    Raises:
        NotUpError: There is none.
    """
    nodes = {name: node for name, node in outputs.nodes.items() if node.pod_cidr is not None}
    if not nodes:
        raise NotUpError(f"stack {stack} has no node that runs pods. Bring it up first: {command_line('up', stack)}")
    return nodes


def kubeconfig_of(stack: str) -> Path:
    """Return the kubeconfig of a stack's administrator.

    Raises:
        NotUpError: It does not exist.
    """
    name = stack.rpartition("/")[2]
    path = WORKSPACE.kubeconfig(name)
    if not path.exists():
        raise NotUpError(f"{path} does not exist. Create it: {command_line('access', name)}")
    return path


@dataclass(frozen=True)
class NamespacedCluster:
    """A cluster, limited to one namespace.

    Each method runs kubectl and raises CommandError if that fails.

    Attributes:
        kubeconfig: Path of the kubeconfig.
        namespace: Namespace of all objects.
    """

    kubeconfig: Path
    namespace: str

    CLUSTER_WIDE: ClassVar[tuple[str, ...]] = ()
    """Kinds of objects outside of the namespace. They have its name."""

    def create(self, manifest: str) -> None:
        """Create the objects of a manifest."""
        self._kubectl("create", "--filename=-", stdin=manifest)

    def wait_for_rollout(self, workload: str) -> None:
        """Wait until all pods of a workload, such as `daemonset/web`, are ready."""
        self._kubectl("rollout", "status", workload, f"--timeout={TIMEOUT}s")

    def remove(self) -> None:
        """Delete all objects if they exist, and wait until they are gone."""
        objects = [f"{kind}/{self.namespace}" for kind in (*self.CLUSTER_WIDE, "namespace")]
        self._kubectl("delete", *objects, "--ignore-not-found", f"--timeout={TIMEOUT}s")

    def _kubectl(self, *arguments: str, stdin: str = "", namespace: str = "") -> str:
        command = ("kubectl", f"--kubeconfig={self.kubeconfig}", f"--namespace={namespace or self.namespace}")
        # In a separate session Ctrl-C does not reach kubectl: this process handles it and cleans up.
        return output([*command, *arguments], stdin=stdin, own_session=True)


def remove(cluster: NamespacedCluster) -> None:
    """Delete all objects of a program, and print what may be left: after an interruption, there is no other report.

    Raises:
        CommandError: They may still exist.
    """
    console.say(f"deleting namespace {cluster.namespace}")
    try:
        cluster.remove()
    except CommandError as error:
        console.warn(f"hardway: namespace {cluster.namespace} may still exist: {error}")
        raise
