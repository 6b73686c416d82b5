"""A fork of a snapshot is a second lab, with the addresses of the original, that never meets it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.cluster import WORKERS, configmaps, emulators, pod_restarts, ready
from tests.support.running_lab import RunningLab

SNAPSHOT = "forked"


@pytest.fixture(scope="module")
def pods_of_the_snapshot(lab: RunningLab) -> Iterator[dict[str, int]]:
    """The pods in a snapshot of the lab, which runs."""
    found = pod_restarts(lab)
    lab.succeed("snapshot", SNAPSHOT)
    yield found
    lab.succeed("snapshot", SNAPSHOT, "--delete")


@pytest.fixture(scope="module")
def fork(lab: RunningLab, pods_of_the_snapshot: dict[str, int]) -> Iterator[RunningLab]:
    """A fork of the snapshot, beside the original. The last test deletes its lab."""
    assert pods_of_the_snapshot
    fork = RunningLab(lab.checkout.with_name(f"{lab.checkout.name}-{SNAPSHOT}"))
    try:
        outcome = lab.hardway("fork", SNAPSHOT)
        assert outcome.succeeded, f"{outcome.output}\n{logs(fork)}"
        yield fork
    finally:
        if fork.checkout.exists():
            fork.purge()


def logs(lab: RunningLab) -> str:
    """Return the last lines of the logs of a private libvirt and its VMs."""
    folder = lab.workspace.hypervisor
    paths = [folder / "holder.log", folder / "log/libvirtd.log", *sorted(folder.glob("log/qemu/*.log"))]
    return "\n".join(
        f"{path}: {line}"
        for path in paths
        if path.exists()
        for line in path.read_text(errors="replace").splitlines()[-15:]
    )


def test_fork_continues_from_the_snapshot(fork: RunningLab, pods_of_the_snapshot: dict[str, int]) -> None:
    assert pod_restarts(fork) == pods_of_the_snapshot
    assert fork.clock_errors() == {}
    assert ready(fork) == set(WORKERS)
    assert fork.planned() == {}
    assert fork.verify() == []


def test_second_fork_in_the_same_place_is_refused(lab: RunningLab, fork: RunningLab) -> None:
    outcome = lab.hardway("fork", SNAPSHOT)
    assert outcome.exit_code == 1
    assert f"{fork.checkout} exists" in outcome.output


def test_change_of_a_fork_does_not_reach_the_original(lab: RunningLab, fork: RunningLab) -> None:
    fork.kubectl("create", "configmap", "of-the-fork")
    workers = fork.workers
    workers[1].setdefault("kubelet", {})["maxPods"] = 77
    fork.configure(workers=workers)
    restarted: set[tuple[str, str]] = set()

    def change() -> None:
        restarted.update(fork.restarts(lambda: fork.succeed("up")))

    assert lab.restarts(change) == set()
    assert restarted == {("node-1", "kubelet")}
    assert "of-the-fork" in configmaps(fork)
    assert "of-the-fork" not in configmaps(lab)
    assert lab.planned() == {}
    assert lab.verify() == []


def test_fork_stops_and_starts_without_the_original(lab: RunningLab, fork: RunningLab) -> None:
    fork.succeed("stop")
    assert (len(emulators(fork)), len(emulators(lab))) == (0, 1 + len(WORKERS))
    fork.succeed("start")
    assert ready(fork) == set(WORKERS)


def test_deleted_fork_leaves_nothing(lab: RunningLab, fork: RunningLab) -> None:
    fork.succeed("destroy")
    images = fork.workspace.hypervisor / "lib/images"
    assert [path for path in images.rglob("*") if path.is_file()] == []
    fork.succeed("clean")
    assert not fork.workspace.lab.exists()
    assert ready(lab) == set(WORKERS)
    assert lab.planned() == {}
    assert len(emulators(lab)) == 1 + len(WORKERS)


def test_rehearsal_sees_the_predicted_restart_and_leaves_nothing(lab: RunningLab) -> None:
    def beside_the_lab() -> set[str]:
        return {path.name for path in lab.checkout.parent.glob(f"{lab.checkout.name}*")}

    places, snapshots, before = beside_the_lab(), lab.hardway("snapshots").output, lab.invocations()
    workers = lab.workers
    workers[1].setdefault("kubelet", {})["maxPods"] = 78
    with lab.configured(workers=workers):
        outcome = lab.hardway("rehearse", "--json")
    assert outcome.stdout.startswith("{"), outcome.output
    document = json.loads(outcome.stdout)
    parts = [(part["node"], part["part"], part["predicted"]) for part in document["parts"]]
    assert (parts, document["differences"]) == ([("node-1", "kubelet", "restart")], []), outcome.output
    assert outcome.succeeded, outcome.output
    assert document["parts"][0]["seen"] is not None
    assert (beside_the_lab(), lab.hardway("snapshots").output) == (places, snapshots)
    assert lab.invocations() == before
    assert ready(lab) == set(WORKERS)
    assert lab.planned() == {}
