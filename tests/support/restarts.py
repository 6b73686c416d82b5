"""The times at which services of a running lab restarted."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.support.running_lab import CLOCK_TOLERANCE, RunningLab


@dataclass(frozen=True)
class Restart:
    """The last restart of a service. Times are seconds since 1970.

    Attributes:
        node: The node.
        service: The service.
        stopped: The time when the service had stopped.
        started: The time when it was active again.
    """

    node: str
    service: str
    stopped: float
    started: float

    def __str__(self) -> str:
        return f"{self.stopped:.0f} to {self.started:.0f}: {self.service} on {self.node}"


def restarts_since(lab: RunningLab, began: float, services: Mapping[str, Sequence[str]]) -> list[Restart]:
    """Return the services that have restarted since a time, the first one first.

    Args:
        lab: The lab.
        began: The time, in seconds since 1970.
        services: The services to look at, by node. All are active.
    """
    properties = "--property=InactiveEnterTimestampMonotonic --property=ActiveEnterTimestampMonotonic"

    def on_node(node: str) -> list[Restart]:
        show = f"for unit in {' '.join(services[node])}; do echo $(systemctl show --value {properties} $unit); done"
        clock, *lines = lab.ssh(node, f"echo $(date +%s.%N) $(cat /proc/uptime); {show}").splitlines()
        now, uptime = map(float, clock.split()[:2])
        restarts = []
        for service, line in zip(services[node], lines, strict=True):
            # In microseconds since boot; 0 if it has never stopped. It is active, so it stopped before it started.
            stopped, started = sorted(now - uptime + int(time) / 1e6 for time in line.split())
            restarts.append(Restart(node, service, stopped, started))
        return restarts

    with ThreadPoolExecutor() as pool:
        found = [restart for restarts in pool.map(on_node, services) for restart in restarts]
    since = began - CLOCK_TOLERANCE
    return sorted((each for each in found if each.stopped > since), key=lambda restart: restart.stopped)
