"""The pods of the test, as the API server describes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.smoke.objects import HOST, PEER, WEB
from ops.smoke.rows import Result, Row

PLACES = {WEB: "pod on {}", PEER: "second pod on {}", HOST: "host network of {}"}
"""Description of the place of an app's pod on a node."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod of the test.

    Attributes:
        app: Name of its DaemonSet.
        node: Node that it is meant for.
        name: Name of the pod. Empty if there is none.
        address: IP address.
        seconds: Time from its creation until it was ready. None if it is not ready.
        trouble: Reason why it is not ready. Empty if it is ready.
    """

    app: str
    node: str
    name: str = ""
    address: str = ""
    seconds: float | None = None
    trouble: str = ""

    @property
    def place(self) -> str:
        """Description of its place, such as `pod on node-0`."""
        return PLACES[self.app].format(self.node)

    @property
    def row(self) -> Row:
        """The row about its start."""
        result = Result.FAILED if self.trouble else Result.OK
        return Row(check="pod starts", target=self.place, result=result, seconds=self.seconds, reason=self.trouble)


def pods_of(items: Iterable[Mapping[str, Any]], nodes: Iterable[str]) -> dict[tuple[str, str], Pod]:
    """Return the pod of each app on each node, by app and node. A missing pod has an entry too.

    Args:
        items: Objects of the API, of any kind.
        nodes: Nodes that must have pods.
    """
    found = {(app, node): Pod(app=app, node=node, trouble="there is no pod") for node in nodes for app in PLACES}
    for item in items:
        if item["kind"] == "Pod":
            key = item["metadata"]["labels"]["app"], _node(item["spec"])
            if key in found:
                found[key] = _pod(*key, item)
    return found


def _node(spec: Mapping[str, Any]) -> str:
    """Return the node that a pod of a DaemonSet is meant for, whether it is scheduled already or not."""
    if "nodeName" in spec:
        return str(spec["nodeName"])
    [term] = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    [field] = term["matchFields"]
    return str(field["values"][0])


def _pod(app: str, node: str, item: Mapping[str, Any]) -> Pod:
    status = item["status"]
    ready: Mapping[str, Any] = next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
    is_ready = ready.get("status") == "True"
    return Pod(
        app=app,
        node=node,
        name=item["metadata"]["name"],
        address=status.get("podIP", ""),
        seconds=_seconds(item["metadata"]["creationTimestamp"], ready["lastTransitionTime"]) if is_ready else None,
        trouble="" if is_ready else _trouble(status),
    )


def _trouble(status: Mapping[str, Any]) -> str:
    """Return the reason why a container waits, else the messages of the pod's conditions."""
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    messages = [condition["message"] for condition in status.get("conditions", ()) if condition.get("message")]
    return f"is {status.get('phase', 'Pending')}, not ready: {'; '.join(messages) or 'it gave no reason'}"


def _seconds(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
