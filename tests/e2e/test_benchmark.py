"""The CIS Kubernetes Benchmark on the lab: every automated check passes, or the documentation names the deviation."""

from pathlib import Path

from tests.support import benchmark
from tests.support.cluster import WORKERS
from tests.support.running_lab import RunningLab

SECTIONS = {"1", "2", "4", "5"}
"""The sections that have automated checks."""


def test_only_the_documented_checks_fail(lab: RunningLab, tmp_path: Path) -> None:
    folder = benchmark.prepare(tmp_path)
    checks = [
        *benchmark.on_node(lab, "server", folder, benchmark.CONTROL_PLANE),
        *benchmark.on_node(lab, WORKERS[0], folder, benchmark.WORKER),
        *benchmark.in_cluster(lab, folder),
    ]
    assert {check.number.partition(".")[0] for check in checks} == SECTIONS
    failed = {check.number: check.text for check in checks if not check.passed}
    assert failed.keys() == benchmark.documented_deviations(), failed
