"""A lab stops with its memory, continues, and returns to a snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from system import processes
from tests.support.cluster import WORKERS, ready
from tests.support.running_lab import RunningLab

SNAPSHOT = "before"


@pytest.fixture
def snapshot(lab: RunningLab) -> Iterator[str]:
    """The name of a snapshot of the lab as it is, which has the ConfigMap `kept`."""
    lab.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    try:
        succeed(lab, "snapshot", SNAPSHOT)
        yield SNAPSHOT
        succeed(lab, "snapshot", SNAPSHOT, "--delete")
    finally:
        lab.kubectl("delete", "configmap", "kept", "created", "--ignore-not-found")


def succeed(lab: RunningLab, *command: str) -> str:
    """Run a command of hardway that must succeed, and return its output."""
    outcome = lab.hardway(*command)
    assert outcome.succeeded, outcome.output
    return outcome.output


def pods(lab: RunningLab) -> dict[str, int]:
    """Return the restarts of all containers of each pod that is not about to end, by the UID of the pod."""
    items = json.loads(lab.kubectl("get", "pods", "--all-namespaces", "--output=json"))["items"]
    return {
        item["metadata"]["uid"]: sum(status["restartCount"] for status in item["status"].get("containerStatuses", ()))
        for item in items
        if "deletionTimestamp" not in item["metadata"]
    }


def emulators(lab: RunningLab) -> list[int]:
    """Return the PIDs of the QEMU processes of the lab."""
    network = lab.run("in-lab", "readlink", "/proc/self/ns/net").stdout.strip()
    found = []
    for pid in processes.every():
        try:
            name = Path(f"/proc/{pid}/comm").read_text()
            if name.startswith("qemu-system") and str(Path(f"/proc/{pid}/ns/net").readlink()) == network:
                found.append(pid)
        except OSError:
            continue  # it has ended
    return found


def configmaps(lab: RunningLab) -> set[str]:
    """Return the names of the ConfigMaps in the default namespace."""
    names = lab.kubectl("get", "configmaps", "--output=name").split()
    return {name.removeprefix("configmap/") for name in names} - {"kube-root-ca.crt"}


def test_stopped_lab_continues_where_it_was(lab: RunningLab) -> None:
    before = pods(lab)
    assert len(emulators(lab)) == 1 + len(WORKERS)
    restarted = lab.restarts(lambda: stop_and_start(lab))
    assert restarted == set()
    assert pods(lab) == before
    assert lab.clock_errors() == {}
    assert ready(lab) == set(WORKERS)
    assert lab.planned() == {}
    assert lab.verify() == []


def stop_and_start(lab: RunningLab) -> None:
    """Stop the lab, look at it, and start it."""
    succeed(lab, "stop")
    assert emulators(lab) == []
    status = lab.hardway("status")
    assert status.exit_code == 1
    assert "Stack dev has been stopped since" in status.output
    assert "VM hardway-node-1 is stopped" in lab.preview()
    succeed(lab, "start")


def test_up_starts_a_stopped_lab(lab: RunningLab) -> None:
    succeed(lab, "stop")
    succeed(lab, "up")
    assert ready(lab) == set(WORKERS)
    assert lab.hardway("status").succeeded
    assert lab.planned() == {}


def test_stopped_lab_continues_after_its_libvirt_was_restarted(lab: RunningLab) -> None:
    before = pods(lab)
    succeed(lab, "stop")
    lab.shell("python3 -m hardway hypervisor stop .lab/hypervisor")
    succeed(lab, "start")
    assert pods(lab) == before
    assert lab.planned() == {}


def test_lab_returns_to_a_snapshot(lab: RunningLab, snapshot: str) -> None:
    before = pods(lab)
    assert snapshot in succeed(lab, "snapshots")
    lab.kubectl("delete", "configmap", "kept")
    lab.kubectl("create", "configmap", "created")
    workers = lab.workers
    workers[1]["labels"] = {"disk": "ssd"}
    with lab.configured(workers=workers):
        assert lab.up().succeeded
    succeed(lab, "revert", snapshot)
    assert configmaps(lab) == {"kept"}
    assert pods(lab) == before
    assert lab.clock_errors() == {}
    assert ready(lab) == set(WORKERS)
    assert lab.planned() == {}
    assert lab.verify() == []
