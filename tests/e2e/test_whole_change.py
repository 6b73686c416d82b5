"""A change that fails on one worker is rolled back on all of them, and the next preview shows it again."""

from tests.support.cluster import WORKERS, applied, ready
from tests.support.running_lab import RunningLab, wait_for


def test_failed_change_is_rolled_back_on_every_worker(lab: RunningLab) -> None:
    before, workers = applied(lab), lab.workers
    # The rules of the lab accept it, and the kubelet does not. By then, node-setup of both workers has changed.
    workers[1]["kubelet"] = {"shutdownGracePeriodCriticalPods": "1h"}
    change = {"sysctls": {"vm.max_map_count": 262144}, "kubelet": {"maxPods": 60}, "workers": workers}
    with lab.configured(onFailure="rollback", **change):
        outcome = lab.hardway("up")
        assert outcome.exit_code == 1, outcome.output
        assert "hardway: node-1-kubelet failed: " in outcome.stderr
        assert "shutdownGracePeriodCriticalPods" in outcome.output
        assert "Everything was rolled back" in outcome.stderr.splitlines()[-1]
        assert applied(lab) == before
        wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
        shown = {f"{worker}-{service}" for worker in WORKERS for service in ("node-setup", "kubelet")}
        assert shown <= lab.planned()["update"]
        assert "kubelet on node-0 will restart: kubelet-config.yaml" in lab.preview()
    assert lab.planned() == {}
    assert lab.verify() == []


def test_plain_update_is_rolled_back_by_a_command(lab: RunningLab) -> None:
    before, workers = applied(lab), lab.workers
    workers[1]["kubelet"] = {"shutdownGracePeriodCriticalPods": "1h"}
    with lab.configured(onFailure="rollback", sysctls={"vm.max_map_count": 262144}, workers=workers):
        outcome = lab.up()
        assert not outcome.succeeded
        assert "hardway rollback --stack dev" in outcome.output
        assert applied(lab) != before
        rollback = lab.hardway("rollback")
        assert rollback.succeeded, rollback.output
        assert applied(lab) == before
    assert lab.planned() == {}
