"""What the benchmark makes of what it has measured."""

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


def test_a_resource_counts_from_when_it_was_there_not_from_when_its_making_began() -> None:
    log = [
        json.dumps({"timestamp": 1, "preludeEvent": {"config": {}}}),
        line(10, "create", timeline.COMMAND, "node-0-kubelet", "resourcePreEvent"),
        line(30, "create", timeline.COMMAND, "node-0-kubelet"),
        json.dumps({"timestamp": 31, "summaryEvent": {"durationSeconds": 30}}),
    ]
    assert timeline.healthy(timeline.created(log), "node-0", "kubelet") == 30


def test_a_component_is_not_taken_for_the_command_of_the_same_name() -> None:
    log = [
        line(10, "create", "hardway:service:NodeService", "node-0-kubelet"),
        line(30, "create", timeline.COMMAND, "node-0-kubelet"),
        line(40, "create", "hardway:service:NodeService", "node-0-kubelet"),
    ]
    assert timeline.healthy(timeline.created(log), "node-0", "kubelet") == 30


def test_what_was_there_already_was_not_made() -> None:
    assert timeline.created([line(10, "same", timeline.DOMAIN, "node-0-domain")]) == {}


def test_boot_begins_with_whichever_vm_was_first() -> None:
    log = [line(20, "create", timeline.DOMAIN, "server-domain"), line(18, "create", timeline.DOMAIN, "node-0-domain")]
    assert timeline.first_domain(timeline.created(log)) == 18


def test_used_memory_is_all_that_a_guest_says_is_not_available() -> None:
    server, _ = hypervisor.parse(DOMSTATS, at=5.0)
    assert (server.domain, server.time, server.used) == ("hardway-server", 5.0, (2026004 - 1835960) * 1024)


def test_a_guest_that_has_not_reported_its_memory_yet_uses_an_unknown_amount() -> None:
    _, node = hypervisor.parse(DOMSTATS, at=5.0)
    assert node.used is None


def test_what_a_vm_received_is_counted_over_all_its_interfaces() -> None:
    server, node = hypervisor.parse(DOMSTATS, at=5.0)
    assert (server.received, node.received) == (1410142, 111)


def test_nothing_is_made_up_for_a_vm_that_never_reported_its_memory() -> None:
    with pytest.raises(ValueError, match="hardway-node-0 never reported"):
        hypervisor.most_used(hypervisor.parse(DOMSTATS, at=5.0), "hardway-node-0")


def test_bytes_are_those_received_when_ready_not_before_and_not_at_the_end() -> None:
    samples = [hypervisor.Sample("a", float(at), None, at * 100) for at in (1, 3, 5)]
    assert hypervisor.received(samples, "a", at=2) == 300


def test_a_ratio_of_exactly_its_goal_holds_and_one_just_above_does_not() -> None:
    assert report.ratio("r", 3.0, 2.0, goal=1.5).holds
    assert report.ratio("r", 3.001, 2.0, goal=1.5).holds is False


def test_a_goal_that_is_missed_is_said_to_be() -> None:
    shown = report.table([report.ratio("r", 2.0, 1.0, goal=1.5), report.ratio("s", 1.0, 1.0, goal=1.5)])
    assert ["MISSED" in line for line in shown.splitlines()] == [True, False]


def test_one_slow_run_does_not_move_the_median() -> None:
    assert report.median_of("m", [1.0, 2.0, 90.0]).value == 2.0


def test_programs_get_every_sample_and_values_in_full() -> None:
    document = report.document([report.median_of("m", [1.0, 2.123456, 3.0])], run={"date": "today"})
    assert document["figures"][0]["value"] == 2.123456
    assert document["figures"][0]["samples"] == [1.0, 2.123456, 3.0]
    assert document["run"] == {"date": "today"}


def test_what_was_not_measured_is_said_so_and_is_no_figure() -> None:
    document = report.document([], ["a changed field: pulumi up failed"])
    assert (document["figures"], document["notMeasured"]) == ([], ["a changed field: pulumi up failed"])
