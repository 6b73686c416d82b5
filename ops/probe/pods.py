"""Changes of the pods of a cluster, from the lists of them before and after."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PodChange:
    """A change of a pod.

    Attributes:
        namespace: Namespace of the pod.
        pod: Name of the pod.
        node: Its node.
        change: Such as `container web restarted`.
        at: Time in seconds since 1970. None if the API does not know it.
    """

    namespace: str
    pod: str
    node: str
    change: str
    at: float | None


def pod_changes(before: Iterable[Mapping[str, Any]], after: Iterable[Mapping[str, Any]]) -> list[PodChange]:
    """Return the restarts of containers, and the pods that were replaced, deleted or added.

    Args:
        before: Pods of the API at the start.
        after: Pods of the API at the end.
    """
    old = {item["metadata"]["uid"]: item for item in before}
    new = {item["metadata"]["uid"]: item for item in after}
    changes = [change for uid in old.keys() & new.keys() for change in _restarts(old[uid], new[uid])]
    gone, come = _by_workload(old, new), _by_workload(new, old)
    for workload in {**gone, **come}:
        for left, arrived in zip_longest(gone.get(workload, ()), come.get(workload, ())):
            changes.append(_replacement(left, arrived))
    return sorted(changes, key=lambda change: (change.at or 0.0, change.namespace, change.pod))


def _restarts(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[PodChange]:
    earlier = _containers(old)
    for name, status in _containers(new).items():
        times = status["restartCount"] - earlier.get(name, {}).get("restartCount", 0)
        if times > 0:
            started = status.get("state", {}).get("running", {}).get("startedAt")
            ended = status.get("lastState", {}).get("terminated", {}).get("finishedAt")
            text = f"container {name} restarted" + (f" {times} times" if times > 1 else "")
            yield _change(new, text, started or ended)


def _replacement(left: Mapping[str, Any] | None, arrived: Mapping[str, Any] | None) -> PodChange:
    """Return the change of a pod that left, another one that arrived in its place, or only one of them."""
    if arrived is None:
        assert left is not None
        return _change(left, "deleted", None)
    created = arrived["metadata"]["creationTimestamp"]
    if left is None:
        return _change(arrived, "added", created)
    node, other = (item["spec"].get("nodeName", "no node") for item in (left, arrived))
    return _change(left, "replaced" if node == other else f"moved to {other}", created)


def _change(item: Mapping[str, Any], change: str, at: str | None) -> PodChange:
    return PodChange(
        namespace=item["metadata"]["namespace"],
        pod=item["metadata"]["name"],
        node=item["spec"].get("nodeName", ""),
        change=change,
        at=datetime.fromisoformat(at).timestamp() if at else None,
    )


def _containers(item: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    status = item["status"]
    every = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return {container["name"]: container for container in every}


def _by_workload(
    items: Mapping[str, Mapping[str, Any]], others: Mapping[str, object]
) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return the pods that are not among the others, by namespace and workload."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for uid, item in items.items():
        if uid not in others:
            found.setdefault((item["metadata"]["namespace"], _workload(item["metadata"])), []).append(item)
    return found


def _workload(metadata: Mapping[str, Any]) -> str:
    """Return the name of the pod's controller, for a ReplicaSet that of its Deployment, without one that of the pod."""
    owner = next((owner["name"] for owner in metadata.get("ownerReferences", ()) if owner.get("controller")), None)
    name = str(owner or metadata["name"])
    return name.removesuffix(f"-{metadata.get('labels', {}).get('pod-template-hash')}")
