"""`hardway smoke` passes on a working lab and leaves nothing behind."""

from tests.support.cluster import WORKERS
from tests.support.running_lab import RunningLab


def test_smoke_covers_every_node(lab: RunningLab) -> None:
    outcome = lab.hardway("smoke")
    assert outcome.succeeded, outcome.output
    for worker in WORKERS:
        for place in (f"pod on {worker}", f"second pod on {worker}", f"host network of {worker}"):
            assert place in outcome.output
    assert " 0 failed, 0 skipped" in outcome.output
    assert "hardway-smoke" not in lab.kubectl("get", "namespaces", "--output=name")
