"""Memory and received bytes of VMs, as the hypervisor reports them."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType

from tests.support.running_lab import RunningLab

PERIOD = 2
"""Seconds between two samples, and between two reports of a guest's memory to the hypervisor."""
_VIRSH = ("virsh", "--connect", "qemu:///system")


@dataclass(frozen=True)
class Sample:
    """The state of a VM at one moment.

    Attributes:
        domain: The name of the VM.
        time: Seconds since 1970.
        used: MemTotal minus MemAvailable in the guest, in bytes. None if the guest has not reported it yet.
        received: Bytes received since the VM was started.
    """

    domain: str
    time: float
    used: int | None
    received: int


def parse(domstats: str, at: float) -> list[Sample]:
    """Return the samples in the output of `virsh domstats --balloon --interface`."""
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
    """Return the largest memory use of a VM in bytes.

    Raises:
        ValueError: The guest never reported it.
    """
    used = [sample.used for sample in samples if sample.domain == domain and sample.used is not None]
    if not used:
        raise ValueError(f"{domain} never reported its memory to the hypervisor")
    return max(used)


def received(samples: list[Sample], domain: str, at: float) -> int:
    """Return the bytes that a VM had received at the first sample at or after a time.

    Raises:
        ValueError: There is no such sample.
    """
    for sample in samples:
        if sample.domain == domain and sample.time >= at:
            return sample.received
    raise ValueError(f"{domain} was not sampled after it was ready")


class Sampler:
    """Samples the VMs of a lab while its `with` block runs."""

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
        self._take_samples()

    def _run(self) -> None:
        while not self._end.wait(PERIOD):
            self._take_samples()

    def _take_samples(self) -> None:
        at = time.time()
        # This can fail while a VM is being created. The next call includes that VM.
        printed = self._lab.run(*_VIRSH, "domstats", "--balloon", "--interface", "--list-running", check=False)
        samples = parse(printed.stdout, at)
        for domain in {sample.domain for sample in samples} - self._reporting:
            result = self._lab.run(*_VIRSH, "dommemstat", domain, "--period", str(PERIOD), "--live", check=False)
            if result.returncode == 0:
                self._reporting.add(domain)
        self.samples += samples


def most_resident(lab: RunningLab, domain: str) -> int:
    """Return the peak resident memory of a VM's process in bytes (VmHWM of proc(5))."""
    status = lab.run("in-lab", "sh", "-c", 'cat "/proc/$(cat "/run/libvirt/qemu/$1.pid")/status"', "sh", domain).stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024
