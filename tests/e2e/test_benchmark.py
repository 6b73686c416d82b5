"""The lab fails no check of the CIS Kubernetes Benchmark but those that docs/security.md explains."""

import re

from system.files import CHECKOUT
from tests.support.benchmark import BENCHMARK, failed_checks
from tests.support.running_lab import RunningLab

DOCUMENT = CHECKOUT / "docs/security.md"


def documented_deviations() -> set[str]:
    """Return the numbers of the checks that the documentation explains."""
    return set(re.findall(r"^\| ([1-5]\.[0-9.]+) \|", DOCUMENT.read_text(), re.MULTILINE))


def test_only_documented_checks_fail(lab: RunningLab) -> None:
    assert BENCHMARK in DOCUMENT.read_text()
    failed = failed_checks(lab, "server", ("master", "etcd", "controlplane", "policies"))
    failed |= failed_checks(lab, "node-0", ("node",))
    assert set(failed) == documented_deviations(), failed
