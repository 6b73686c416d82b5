"""The comparison of predicted and measured impact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from ops.rehearse.comparison import Comparison, compare
from ops.rehearse.report import Rehearsal

KUBELET = {"name": "kubelet", "change": "changed", "disruption": "restart", "causes": ["kubelet-config.yaml"]}


def node(
    name: str, *services: Mapping[str, Any], change: str = "changed", disruption: str = "restart"
) -> dict[str, Any]:
    """Return a node of the impact."""
    return {"name": name, "change": change, "disruption": disruption, "causes": [], "services": services, "other": []}


def impact(*nodes: Mapping[str, Any], disruption: str = "restart") -> dict[str, Any]:
    """Return a predicted impact."""
    return {"stack": "dev", "disruption": disruption, "nodes": nodes}


def measurement(*services: tuple[str, str, float], **others: Any) -> dict[str, Any]:
    """Return a measurement in which services started: node, service, time."""
    started = [{"node": node, "service": service, "at": at} for node, service, at in services]
    document = {"stack": "dev", "start": "2026-01-02T03:04:05", "seconds": 60.0, "targets": [], "nodes": [], "pods": []}
    return {**document, "services": started, "notes": [], **others}


def rehearsal(comparison: Comparison, *, exit_code: int = 0) -> Rehearsal:
    """Return the rehearsal of a comparison."""
    return Rehearsal(
        stack="dev",
        snapshot="before",
        fork=None,
        exit_code=exit_code,
        impact=impact(),
        measurement=measurement(),
        comparison=comparison,
    )


def test_predicted_restart_is_no_difference() -> None:
    found = compare(impact(node("a", KUBELET)), measurement(("a", "kubelet", 31.4)))
    assert found.differences == []
    [part] = found.parts
    assert (part.node, part.part, part.predicted, part.seen) == ("a", "kubelet", "restart", 31.4)
    text = rehearsal(found).text()
    assert text.splitlines()[2:4] == ["NODE  PART     PREDICTED  SEEN", "a     kubelet  restart    after 31.4 s"]
    assert text.endswith("As predicted.")


def test_other_restarts_are_differences() -> None:
    found = compare(impact(node("a", KUBELET)), measurement(("b", "containerd", 5.0)))
    assert found.differences == [
        "kubelet on a was predicted to start again (restart), and did not.",
        "containerd on b started after 5.0 s, which was not predicted.",
    ]
    assert "Not as predicted:\n- kubelet on a" in rehearsal(found).text()
    assert rehearsal(found).text(quiet=True).splitlines() == [f"- {each}" for each in found.differences]
    assert not rehearsal(found).as_predicted


@pytest.mark.parametrize("level", ["none", "reload"])
def test_lower_levels_predict_no_restart(level: str) -> None:
    predicted = impact(node("a", {**KUBELET, "disruption": level}, disruption=level), disruption=level)
    assert compare(predicted, measurement()).differences == []
    [difference] = compare(predicted, measurement(("a", "kubelet", 1.0))).differences
    assert "not predicted" in difference


def test_recreated_node_starts_with_all_its_services() -> None:
    predicted = impact(node("a", change="recreated", disruption="recreate"), disruption="recreate")
    seen = measurement(("a", "the machine", 9.0), ("a", "kubelet", 20.0), ("a", "containerd", 19.0))
    found = compare(predicted, seen)
    assert found.differences == []
    assert [(part.part, part.predicted, part.seen) for part in found.parts] == [("the machine", "recreate", 9.0)]
    assert len(compare(predicted, measurement(("a", "kubelet", 20.0))).differences) == 2


def test_reboot_that_was_not_predicted_is_one_difference() -> None:
    [difference] = compare(impact(), measurement(("a", "the machine", 9.0), ("a", "kubelet", 20.0))).differences
    assert difference.startswith("the machine on a started after 9.0 s")


def test_nodes_and_services_that_come_and_go_do_not_count() -> None:
    added = {**KUBELET, "name": "policies", "change": "added", "disruption": "none"}
    predicted = impact(
        node("a", added, disruption="none"),
        node("new", change="added", disruption="none"),
        node("old", change="removed", disruption="recreate"),
        disruption="recreate",
    )
    notes = ["the services of old are unknown: no answer"]
    found = compare(predicted, measurement(("a", "policies", 3.0), ("new", "kubelet", 2.0), notes=notes))
    assert found.differences == []
    assert [(part.node, part.predicted) for part in found.parts] == [("new", "added"), ("old", "removed")]


def test_node_that_does_not_answer_is_a_difference() -> None:
    notes = ["the services of a are unknown: no answer", "pod on a from b was left out: no route"]
    assert compare(impact(), measurement(notes=notes)).differences == [
        "Not measured: the services of a are unknown: no answer"
    ]
    assert compare(impact(), measurement(pods=None)).differences == ["Not measured: the pods at the end."]


def test_node_that_is_not_ready_needs_a_restart() -> None:
    times = {"a": 3.0, "b": 2.0, "c": 0.0, "new": 30.0}
    nodes = [{"node": name, "notReady": seconds, "unknown": 0.0} for name, seconds in times.items()]
    added = node("new", change="added", disruption="none")
    found = compare(impact(node("a", KUBELET), added), measurement(("a", "kubelet", 1.0), nodes=nodes))
    assert found.differences == ["b was not Ready for 2.0 s, and nothing on it was predicted to restart."]


@pytest.mark.parametrize(("level", "is_difference"), [("restart", True), ("drain", False)])
def test_container_restarts_only_on_a_drained_node(level: str, is_difference: bool) -> None:
    service = {**KUBELET, "disruption": level}
    pods = [{"namespace": "default", "pod": "web", "node": "a", "change": "container web restarted", "at": 3.0}]
    found = compare(
        impact(node("a", service, disruption=level), disruption=level),
        measurement(("a", "kubelet", 1.0), pods=pods),
    )
    expected = ["container web restarted in pod default/web on a, which was not predicted."] if is_difference else []
    assert found.differences == expected


@pytest.mark.parametrize(("level", "expected"), [("reload", 1), ("restart", 0)])
def test_requests_fail_only_with_a_restart(level: str, expected: int) -> None:
    targets = [{"target": "Service", "from": "a", "failures": 3}]
    differences: Sequence[str] = compare(impact(disruption=level), measurement(targets=targets)).differences
    assert len(differences) == expected


def test_failed_update_is_not_as_predicted() -> None:
    failed = rehearsal(Comparison(parts=[], differences=[]), exit_code=1)
    assert not failed.as_predicted
    assert failed.document()["exitCode"] == 1
    assert "`hardway up` failed with exit code 1." in failed.text(quiet=True)
