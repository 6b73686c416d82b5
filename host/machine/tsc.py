"""The frequency of this machine's time stamp counter, which emulated VMs use as their clock."""

from __future__ import annotations

import contextlib
from pathlib import Path

from system.files import CHECKOUT, write_atomically

RECORD = CHECKOUT / ".lab" / "counter-mhz"
TOLERANCE = 0.001
"""Largest relative difference between measurements of the same counter at two boots.

A kernel measures it with a clock that is wrong by some millionths. The counter of another CPU differs far more.
"""


def counter_mhz(cpuinfo: Path = Path("/proc/cpuinfo"), record: Path = RECORD) -> int | None:
    """Return the counter's frequency in MHz, rounded. None if the kernel does not report it.

    VMs are created with this number, and another number would recreate them. So the first result is kept in a file, as
    long as this machine measures the same.

    On x86 the kernel derives bogomips from the counter's frequency: bogomips are twice its MHz (lpj_fine in
    arch/x86/kernel/tsc.c, calibrate_delay in init/calibrate.c).

    Args:
        cpuinfo: The kernel's report of the CPUs.
        record: The file of the first result.
    """
    measured = _measure(cpuinfo)
    if measured is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        recorded = int(record.read_text())
        if abs(recorded - measured) <= TOLERANCE * measured:
            return recorded
    mhz = round(measured)
    with contextlib.suppress(OSError):  # the user of a preview may have no right to write here
        record.parent.mkdir(exist_ok=True)
        write_atomically(record, f"{mhz}\n")
    return mhz


def _measure(cpuinfo: Path) -> float | None:
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "bogomips":
            return float(value) / 2
    return None
