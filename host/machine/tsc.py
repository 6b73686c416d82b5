"""How fast this machine's time stamp counter counts, by which the machines that it emulates tell the time."""

from __future__ import annotations

import contextlib
from pathlib import Path

from system.files import CHECKOUT

RECORD = CHECKOUT / ".lab" / "counter-mhz"
TOLERANCE = 0.001
"""The part of a frequency by which the same counter may be measured differently from one boot to another.

A kernel measures it by a clock that is wrong by some millionths; that of another CPU is another one by far more.
"""


def counter_mhz(cpuinfo: Path = Path("/proc/cpuinfo"), record: Path = RECORD) -> int | None:
    """MHz of the counter, to the whole number; None where the kernel does not say.

    VMs are told it as they are made, and another number would make them anew. So what was found first is kept in the
    file `record`, for as long as this machine measures the same.

    On x86 the kernel derives bogomips from the counter's frequency, of which they are twice the MHz (lpj_fine in
    arch/x86/kernel/tsc.c, calibrate_delay in init/calibrate.c).
    """
    measured = _measured(cpuinfo)
    if measured is None:
        return None
    with contextlib.suppress(OSError, ValueError):
        found = int(record.read_text())
        if abs(found - measured) <= TOLERANCE * measured:
            return found
    found = round(measured)
    with contextlib.suppress(OSError):  # a preview may be run by who may not write here
        record.parent.mkdir(exist_ok=True)
        record.write_text(f"{found}\n")
    return found


def _measured(cpuinfo: Path) -> float | None:
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "bogomips":
            return float(value) / 2
    return None
