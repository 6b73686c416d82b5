"""Nodes undo a change by themselves if nobody confirms it."""

import os
import re
import signal
from collections.abc import Iterator

import pytest

from tests.support.cluster import WORKERS, applied, ready
from tests.support.running_lab import RunningLab, wait_for

LIMIT = "3m"
"""Longer than a restart of the kubelet on a slow machine."""


@pytest.fixture
def limited(lab: RunningLab) -> Iterator[RunningLab]:
    """The lab with a time for confirmations."""
    with lab.configured(confirmWithin=LIMIT):
        up = lab.hardway("up")
        assert up.succeeded, up.output
        assert waiting(lab) == set()
        yield lab
    up = lab.hardway("up")
    assert up.succeeded, up.output
    assert lab.planned() == {}
    assert lab.verify() == []


def waiting(lab: RunningLab) -> set[str]:
    """Return the names of the workers whose changes are not confirmed."""
    script = "ls /var/lib/hardway/confirm-by /var/lib/hardway/services/*/unconfirmed.* 2>/dev/null || true"
    return {worker for worker in WORKERS if lab.ssh(worker, script)}


def has_changed_kubelet(lab: RunningLab, worker: str) -> bool:
    """Return True if a worker has a new version of the kubelet that is not confirmed."""
    return lab.ssh(worker, "ls -d /var/lib/hardway/services/kubelet/unconfirmed.* || true") != ""


@pytest.mark.drawn
@pytest.mark.parametrize("reboots", [False, True], ids=["node stays up", "node reboots"])
def test_node_returns_if_the_operator_is_gone(limited: RunningLab, reboots: bool) -> None:
    lab, before = limited, applied(limited)
    lab.configure(kubelet={"maxPods": 61})
    up = lab.start("hardway", "up", "--stack", lab.stack, start_new_session=True)
    changed: set[str] = set()

    def kubelet_has_changed() -> bool:
        assert up.poll() is None, up.communicate()
        changed.update(worker for worker in WORKERS if has_changed_kubelet(lab, worker))
        return bool(changed)

    wait_for("a changed kubelet", kubelet_has_changed)
    os.killpg(up.pid, signal.SIGKILL)
    up.communicate()
    assert "returns to the version before in" in lab.hardway("status").output
    if reboots:
        for worker in changed:
            lab.run("virsh", "destroy", f"hardway-{worker}")
            lab.run("virsh", "start", f"hardway-{worker}")
        wait_for("every worker answers", lambda: all(lab.ssh(node, "echo here", check=False) for node in WORKERS))
    wait_for("nothing waits for a confirmation", lambda: waiting(lab) == set())
    assert applied(lab) == before
    wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))

    returned = {(found["node"], found["service"]) for found in lab.verify() if "has returned" in found["difference"]}
    assert returned >= {(worker, "kubelet") for worker in changed}
    preview = lab.preview()
    for node, service in returned:
        assert f"{service} on {node} has returned to the version before" in preview
    assert {f"{worker}-kubelet" for worker in WORKERS} <= lab.planned()["update"]
    outcomes = []
    restarted = lab.restarts(lambda: outcomes.append(lab.hardway("up")))
    assert outcomes[0].succeeded, outcomes[0].output
    assert "The changes are confirmed on server, node-0, node-1." in outcomes[0].stderr
    assert restarted == {(worker, "kubelet") for worker in WORKERS}
    assert waiting(lab) == set()
    assert applied(lab) != before
    assert lab.planned() == {}
    assert lab.verify() == []


def test_plain_update_is_confirmed_by_a_command(limited: RunningLab) -> None:
    lab, before = limited, applied(limited)
    lab.configure(kubelet={"maxPods": 62})
    up = lab.up()
    assert up.succeeded, up.output
    assert re.search(r"unless you run `\.lab/bin/hardway confirm --stack dev` in time", up.output)
    assert waiting(lab) == set(WORKERS)
    confirm = lab.hardway("confirm")
    assert confirm.succeeded, confirm.output
    assert waiting(lab) == set()
    assert applied(lab) != before
    timers = "systemctl list-timers --all --no-legend 'unconfirmed-*'"
    assert [lab.ssh(worker, timers) for worker in WORKERS] == ["", ""]
