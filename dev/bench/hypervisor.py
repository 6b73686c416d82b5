"""What the hypervisor knows of its VMs: the memory that is used inside, and the bytes that they received."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from tests.support.running_lab import RunningLab

PERIOD = 2
"""Seconds between two looks, and between two reports of a guest's memory to the hypervisor."""
_VIRSH = ("virsh", "--connect", "qemu:///system")


@dataclass(frozen=True)
class Sample:
    """A VM at a time, in seconds since 1970.

    used: MemTotal less MemAvailable inside, in bytes; None where its system has not said so yet.
    received: bytes, since it was started.
    """

    domain: str
    time: float
    used: int | None
    received: int


def parse(domstats: str, at: float) -> list[Sample]:
    """The samples in what `virsh domstats --balloon --interface` prints."""
    samples = []
    for block in domstats.split("Domain: ")[1:]:
        domain, *lines = block.splitlines()
        found = dict(line.strip().split("=", 1) for line in lines if "=" in line)
        total, available = found.get("balloon.available"), found.get("balloon.usable")
        samples.append(
            Sample(
                domain=domain.strip("'"),
                time=at,
                used=(int(total) - int(available)) * 1024 if total and available else None,
                received=sum(int(value) for name, value in found.items() if name.endswith(".rx.bytes")),
            )
        )
    return samples


def most_used(samples: list[Sample], domain: str) -> int:
    """The most memory that a VM was seen to use, in bytes. Raises ValueError where it never said."""
    used = [sample.used for sample in samples if sample.domain == domain and sample.used is not None]
    if not used:
        raise ValueError(f"{domain} never reported its memory to the hypervisor")
    return max(used)


def received(samples: list[Sample], domain: str, at: float) -> int:
    """The bytes that a VM had received by a time, as first seen then or later. Raises ValueError where it wasn't."""
    for sample in samples:
        if sample.domain == domain and sample.time >= at:
            return sample.received
    raise ValueError(f"{domain} was not looked at after it was ready")


class Sampler:
    """Looks at the VMs of a lab as long as its `with` block runs."""

    def __init__(self, lab: RunningLab) -> None:
        self.samples: list[Sample] = []
        self._lab = lab
        self._reporting: set[str] = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._thread.join()
        self._look()

    def _run(self) -> None:
        while not self._end.wait(PERIOD):
            self._look()

    def _look(self) -> None:
        at = time.time()
        # A VM that is just being made may make it fail; the next look sees it.
        printed = self._lab.run(*_VIRSH, "domstats", "--balloon", "--interface", "--list-running", check=False)
        samples = parse(printed.stdout, at)
        for domain in {sample.domain for sample in samples} - self._reporting:
            asked = self._lab.run(*_VIRSH, "dommemstat", domain, "--period", str(PERIOD), "--live", check=False)
            if asked.returncode == 0:
                self._reporting.add(domain)
        self.samples += samples


def most_resident(lab: RunningLab, domain: str) -> int:
    """The most memory that a VM's process ever had in RAM, in bytes (VmHWM of proc(5))."""
    status = lab.run("in-lab", "sh", "-c", 'cat "/proc/$(cat "/run/libvirt/qemu/$1.pid")/status"', "sh", domain).stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
