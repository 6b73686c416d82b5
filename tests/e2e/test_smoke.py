"""`make smoke` finds that the lab does what clusters do, and leaves nothing behind."""

from tests.support.running_lab import RunningLab

WORKERS = ("node-0", "node-1")


def test_make_smoke_tries_every_node_and_leaves_no_namespace_behind(lab: RunningLab) -> None:
    change = lab.make("smoke")
    assert change.succeeded, change.output
    for worker in WORKERS:
        for place in (f"pod on {worker}", f"host network of {worker}"):
            assert place in change.output
    assert " 0 failed, 0 skipped" in change.output
    assert "hardway-smoke" not in lab.kubectl("get", "namespaces", "--output=name")
