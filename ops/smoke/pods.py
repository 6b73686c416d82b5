"""The pods as the API server tells them: which there are, and what the others lack."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.smoke.objects import HOST, WEB
from ops.smoke.rows import Result, Row

PLACES = {WEB: "pod on {}", HOST: "host network of {}"}
"""How the place of an app's pod on a node is called."""


@dataclass(frozen=True, kw_only=True)
class Pod:
    """app: which DaemonSet's. trouble: why it does not serve; empty where it does. seconds: how long it took to."""

    app: str
    node: str
    name: str = ""
    address: str = ""
    seconds: float | None = None
    trouble: str = ""

    @property
    def place(self) -> str:
        """Where it is, in words."""
        return PLACES[self.app].format(self.node)

    @property
    def row(self) -> Row:
        """How its start went."""
        result = Result.FAILED if self.trouble else Result.OK
        return Row(check="pod starts", target=self.place, result=result, seconds=self.seconds, reason=self.trouble)


def pods_of(items: Iterable[Mapping[str, Any]], nodes: Iterable[str]) -> dict[tuple[str, str], Pod]:
    """App and node to the pod there, for each of these nodes, also where there is none.

    items: as the API has them, other kinds of objects among them.
    """
    found = {(app, node): Pod(app=app, node=node, trouble="there is no pod") for node in nodes for app in PLACES}
    for item in items:
        if item["kind"] == "Pod":
            key = item["metadata"]["labels"]["app"], _node(item["spec"])
            if key in found:
                found[key] = _pod(*key, item)
    return found


def _node(spec: Mapping[str, Any]) -> str:
    """The node that a pod of a DaemonSet is for, be it on it already or not."""
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
    """What a container waits for, else what the pod says of itself."""
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting")
        if waiting:
            return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
    messages = [condition["message"] for condition in status.get("conditions", ()) if condition.get("message")]
    return f"is {status.get('phase', 'Pending')}, not ready: {'; '.join(messages) or 'it never said why'}"


def _seconds(began: str, ended: str) -> float:
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
