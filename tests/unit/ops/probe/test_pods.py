"""Changes of pods between two lists."""

from typing import Any

from ops.probe.pods import pod_changes

CREATED = "2026-01-02T03:04:05Z"
SECONDS = 1767323045.0


def pod(uid: str, name: str = "web-1-a", node: str = "node-0", restarts: int = 0, **state: Any) -> dict[str, Any]:
    """Return a pod of the Deployment `web`, whose ReplicaSet is `web-1`."""
    return {
        "metadata": {
            "uid": uid,
            "namespace": "default",
            "name": name,
            "creationTimestamp": CREATED,
            "labels": {"pod-template-hash": "1"},
            "ownerReferences": [{"name": "web-1", "controller": True}],
        },
        "spec": {"nodeName": node},
        "status": {"containerStatuses": [{"name": "web", "restartCount": restarts, **state}]},
    }


def changes(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[str, str, str, float | None]]:
    return [(each.pod, each.node, each.change, each.at) for each in pod_changes(before, after)]


def test_nothing_changed() -> None:
    assert changes([pod("1", restarts=2)], [pod("1", restarts=2)]) == []


def test_restarted_container_has_its_time() -> None:
    running = {"running": {"startedAt": CREATED}}
    assert changes([pod("1")], [pod("1", restarts=1, state=running)]) == [
        ("web-1-a", "node-0", "container web restarted", SECONDS)
    ]


def test_container_that_waits_has_the_time_of_its_end() -> None:
    after = pod("1", restarts=3, state={"waiting": {}}, lastState={"terminated": {"finishedAt": CREATED}})
    assert changes([pod("1", restarts=1)], [after]) == [
        ("web-1-a", "node-0", "container web restarted 2 times", SECONDS)
    ]


def test_replaced_pod_is_that_of_the_same_deployment() -> None:
    after = pod("2", "web-2-b")
    after["metadata"]["labels"]["pod-template-hash"] = "2"
    after["metadata"]["ownerReferences"][0]["name"] = "web-2"
    assert changes([pod("1")], [after]) == [("web-1-a", "node-0", "replaced", SECONDS)]


def test_moved_pod_has_its_new_node() -> None:
    assert changes([pod("1")], [pod("2", "web-1-b", "node-1")]) == [("web-1-a", "node-0", "moved to node-1", SECONDS)]


def test_pod_without_a_node_yet() -> None:
    after = pod("2", "web-1-b")
    del after["spec"]["nodeName"]
    assert changes([pod("1")], [after]) == [("web-1-a", "node-0", "moved to no node", SECONDS)]


def test_deleted_and_added_pods() -> None:
    other = pod("2", "other")
    other["metadata"].update(ownerReferences=[], labels={})
    assert changes([pod("1")], [other]) == [
        ("web-1-a", "node-0", "deleted", None),
        ("other", "node-0", "added", SECONDS),
    ]
