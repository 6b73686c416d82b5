"""The benchmark computes figures from event logs and samples, and shows them."""

import json

import pytest

from dev.bench import hypervisor, report, timeline

DOMSTATS = """\
Domain: 'hardway-server'
  balloon.current=2097152
  balloon.unused=1882088
  balloon.available=2026004
  balloon.usable=1835960
  net.count=1
  net.0.name=vnet0
  net.0.rx.bytes=1410142
  net.0.rx.pkts=7057
  net.0.tx.bytes=4808125

Domain: 'hardway-node-0'
  balloon.current=2097152
  net.count=2
  net.0.rx.bytes=100
  net.1.rx.bytes=11

"""


def line(time: int, op: str, kind: str, name: str, event: str = "resOutputsEvent") -> str:
    urn = f"urn:pulumi:dev::hardway::hardway:lab:Lab${kind}::{name}"
    return json.dumps({"timestamp": time, event: {"metadata": {"op": op, "urn": urn, "type": kind}}})


def test_creation_time_is_the_end_of_the_step() -> None:
    log = [
        json.dumps({"timestamp": 1, "preludeEvent": {"config": {}}}),
        line(10, "create", timeline.COMMAND, "node-0-kubelet", "resourcePreEvent"),
        line(30, "create", timeline.COMMAND, "node-0-kubelet"),
        json.dumps({"timestamp": 31, "summaryEvent": {"durationSeconds": 30}}),
    ]
    assert timeline.healthy(timeline.created(log), "node-0", "kubelet") == 30


def test_component_is_not_confused_with_its_command() -> None:
    log = [
        line(10, "create", "hardway:service:NodeService", "node-0-kubelet"),
        line(30, "create", timeline.COMMAND, "node-0-kubelet"),
        line(40, "create", "hardway:service:NodeService", "node-0-kubelet"),
    ]
    assert timeline.healthy(timeline.created(log), "node-0", "kubelet") == 30


def test_existing_resources_do_not_count() -> None:
    assert timeline.created([line(10, "same", timeline.DOMAIN, "node-0-domain")]) == {}


def test_boot_starts_with_the_first_vm() -> None:
    log = [line(20, "create", timeline.DOMAIN, "server-domain"), line(18, "create", timeline.DOMAIN, "node-0-domain")]
    assert timeline.first_domain(timeline.created(log)) == 18


def test_used_memory_excludes_available_memory() -> None:
    server, _ = hypervisor.parse(DOMSTATS, at=5.0)
    assert (server.domain, server.time, server.used) == ("hardway-server", 5.0, (2026004 - 1835960) * 1024)


def test_unreported_memory_is_unknown() -> None:
    _, node = hypervisor.parse(DOMSTATS, at=5.0)
    assert node.used is None


def test_received_bytes_cover_all_interfaces() -> None:
    server, node = hypervisor.parse(DOMSTATS, at=5.0)
    assert (server.received, node.received) == (1410142, 111)


def test_vm_without_memory_report_is_an_error() -> None:
    with pytest.raises(ValueError, match="hardway-node-0 never reported"):
        hypervisor.most_used(hypervisor.parse(DOMSTATS, at=5.0), "hardway-node-0")


def test_received_bytes_are_those_when_ready() -> None:
    samples = [hypervisor.Sample("a", float(at), None, at * 100) for at in (1, 3, 5)]
    assert hypervisor.received(samples, "a", at=2) == 300


def test_goal_includes_its_limit() -> None:
    assert report.ratio("r", 3.0, 2.0, goal=1.5).holds
    assert report.ratio("r", 3.001, 2.0, goal=1.5).holds is False


def test_missed_goal_is_marked() -> None:
    shown = report.table([report.ratio("r", 2.0, 1.0, goal=1.5), report.ratio("s", 1.0, 1.0, goal=1.5)])
    assert ["MISSED" in line for line in shown.splitlines()] == [True, False]


def test_median_ignores_one_slow_run() -> None:
    assert report.median_of("m", [1.0, 2.0, 90.0]).value == 2.0


def test_document_has_samples_and_full_values() -> None:
    document = report.document([report.median_of("m", [1.0, 2.123456, 3.0])], run={"date": "today"})
    assert document["figures"][0]["value"] == 2.123456
    assert document["figures"][0]["samples"] == [1.0, 2.123456, 3.0]
    assert document["run"] == {"date": "today"}


def test_document_lists_failed_measurements() -> None:
    document = report.document([], ["a changed field: pulumi up failed"])
    assert (document["figures"], document["notMeasured"]) == ([], ["a changed field: pulumi up failed"])
