"""The availability of a cluster during day-two operations, as `hardway probe` measures it.

Each measurement changes the lab that the one before has left.
"""

import time
from collections.abc import Mapping
from typing import Any

from dev.bench.measuring import BenchError
from dev.bench.report import Figure
from lab.versions import default_kubernetes_version, kubernetes_versions, minor
from tests.support.running_lab import RunningLab


def kubelets(lab: RunningLab) -> list[Figure]:
    """Measure the availability while every kubelet restarts."""
    return _during_up(lab, "a kubelet field of all workers", kubelet={"containerLogMaxFiles": 7})


def api_server(lab: RunningLab) -> list[Figure]:
    """Measure the availability while the only API server restarts."""
    return _during_up(lab, "a flag of the API server", apiServerFlags={"max-requests-inflight": 500})


def renewal(lab: RunningLab) -> list[Figure]:
    """Measure the availability while all certificates are renewed."""
    return _during_up(lab, "all certificates renewed", "--renew")


def kubelet_version(lab: RunningLab) -> list[Figure]:
    """Measure the availability while the workers get another minor version, for which they are drained."""
    before = minor(default_kubernetes_version()) - 1
    version = next(each for each in kubernetes_versions() if minor(each) == before)
    workers = [worker | {"kubernetesVersion": version} for worker in lab.workers]
    return _during_up(lab, "another minor version of all workers", workers=workers)


def worker(lab: RunningLab) -> list[Figure]:
    """Measure the availability while the VM of a worker is recreated."""
    first, *others = lab.workers
    return _during_up(lab, "a worker recreated", workers=[first | {"disk": 11}, *others])


def control_plane(lab: RunningLab) -> list[Figure]:
    """Measure the availability while the VM of the only control plane is recreated, which keeps its data."""
    [only] = lab.configuration["controlPlanes"]
    return _during_up(lab, "the control plane recreated", controlPlanes=[only | {"disk": 11}])


MEASUREMENTS = (kubelets, api_server, renewal, kubelet_version, worker, control_plane)


def _during_up(lab: RunningLab, name: str, *options: str, **values: Any) -> list[Figure]:
    """Measure one `hardway up`.

    Args:
        lab: The lab.
        name: The name of the operation.
        options: Options of `hardway up`.
        values: Keys of the stack to set before.

    Raises:
        BenchError: `hardway up` failed.
    """
    lab.configure(**values)
    with lab.probe() as report:
        began = time.monotonic()
        up = lab.hardway("up", *options)
        seconds = time.monotonic() - began
    if not up.succeeded:
        raise BenchError(f"hardway up failed:\n{up.output}")
    return [Figure(name=f"{name}: hardway up", value=seconds, unit="s"), *availability(report)]


def availability(report: Mapping[str, Any]) -> list[Figure]:
    """Return the figures in a report of `hardway probe --json`."""
    figures = []
    for part in ("API", "Service"):
        targets = [target for target in report["targets"] if target["target"].startswith(part)]
        failures = sum(target["failures"] for target in targets)
        requests = sum(target["requests"] for target in targets)
        figures += [
            Figure(name=f"  {part}: failed requests of {requests:,}", value=failures, unit="requests"),
            Figure(name=f"  {part}: longest gap", value=max(target["longestGap"] for target in targets), unit="s"),
        ]
    not_ready = max(node["notReady"] for node in report["nodes"])
    return [*figures, Figure(name="  longest time that a node was not Ready", value=not_ready, unit="s")]
