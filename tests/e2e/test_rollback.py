"""A change that fails is rolled back on the node that tried it, and no other node tries it."""

from collections.abc import Iterator

import pytest

from tests.support.cluster import WORKERS, applied, pod_starts, ready
from tests.support.faults import FAULTS
from tests.support.running_lab import RunningLab, wait_for


@pytest.fixture
def undone(lab: RunningLab) -> Iterator[None]:
    """Undo the fault in the checkout and on the nodes, and check that `pulumi up` then succeeds."""
    yield
    lab.run("git", "checkout", "--", "lab", "Pulumi.dev.yaml")
    for worker in WORKERS:
        lab.ssh(worker, "rm -f /etc/modprobe.d/no-ipvs.conf")
    change = lab.up()
    assert change.succeeded, change.output
    assert lab.planned() == {}


@pytest.mark.drawn
@pytest.mark.usefixtures("undone")
@pytest.mark.parametrize("name", FAULTS)
def test_failed_change_is_rolled_back(lab: RunningLab, name: str) -> None:
    fault = FAULTS[name]
    before, pods, invocations = applied(lab), pod_starts(lab), lab.invocations()
    fault.make(lab)
    change = lab.up()
    assert not change.succeeded
    assert f"{fault.service} on node-" in change.output
    for text in fault.named:
        assert text in change.output
    assert "Traceback" not in change.output

    assert applied(lab) == before
    wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
    assert pod_starts(lab) == pods
    changed = {service for service, run in lab.invocations().items() if invocations[service] != run}
    tried = {(worker, fault.service) for worker in WORKERS}
    assert changed <= tried
    # One worker at a time: after the first one fails, the second one is not tried.
    assert len(changed) <= (0 if fault.untouched else 1)
