"""A lab stops with its memory, continues, and returns to a snapshot."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import WORKERS, configmaps, emulators, pod_restarts, ready
from tests.support.running_lab import RunningLab

SNAPSHOT = "before"


@pytest.fixture
def snapshot(lab: RunningLab) -> Iterator[str]:
    """The name of a snapshot of the lab as it is, which has the ConfigMap `kept`."""
    lab.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    try:
        lab.succeed("snapshot", SNAPSHOT)
        yield SNAPSHOT
        lab.succeed("snapshot", SNAPSHOT, "--delete")
    finally:
        lab.kubectl("delete", "configmap", "kept", "created", "--ignore-not-found")


def test_stopped_lab_continues_where_it_was(lab: RunningLab) -> None:
    before = pod_restarts(lab)
    assert len(emulators(lab)) == 1 + len(WORKERS)
    restarted = lab.restarts(lambda: stop_and_start(lab))
    assert restarted == set()
    assert pod_restarts(lab) == before
    assert lab.clock_errors() == {}
    assert ready(lab) == set(WORKERS)
    assert lab.planned() == {}
    assert lab.verify() == []


def stop_and_start(lab: RunningLab) -> None:
    """Stop the lab, look at it, and start it."""
    lab.succeed("stop")
    assert emulators(lab) == []
    status = lab.hardway("status")
    assert status.exit_code == 1
    assert "Stack dev has been stopped since" in status.output
    assert "VM hardway-node-1 is stopped" in lab.preview()
    lab.succeed("start")


def test_up_starts_a_stopped_lab(lab: RunningLab) -> None:
    lab.succeed("stop")
    lab.succeed("up")
    assert ready(lab) == set(WORKERS)
    assert lab.hardway("status").succeeded
    assert lab.planned() == {}


def test_stopped_lab_continues_after_its_libvirt_was_restarted(lab: RunningLab) -> None:
    before = pod_restarts(lab)
    lab.succeed("stop")
    lab.shell("python3 -m hardway hypervisor stop .lab/hypervisor")
    lab.succeed("start")
    assert pod_restarts(lab) == before
    assert lab.planned() == {}


def test_lab_returns_to_a_snapshot(lab: RunningLab, snapshot: str) -> None:
    before = pod_restarts(lab)
    assert snapshot in lab.succeed("snapshots")
    lab.kubectl("delete", "configmap", "kept")
    lab.kubectl("create", "configmap", "created")
    workers = lab.workers
    workers[1]["labels"] = {"disk": "ssd"}
    with lab.configured(workers=workers):
        assert lab.up().succeeded
    lab.succeed("revert", snapshot)
    assert configmaps(lab) == {"kept"}
    assert pod_restarts(lab) == before
    assert lab.clock_errors() == {}
    assert ready(lab) == set(WORKERS)
    # The labels are newer than the snapshot.
    lab.succeed("rollback")
    assert lab.planned() == {}
    assert lab.verify() == []
