"""How fast this machine's time stamp counter counts, by which the machines that it emulates tell the time."""

from __future__ import annotations

from pathlib import Path


def counter_mhz(cpuinfo: Path = Path("/proc/cpuinfo")) -> int | None:
    """MHz of the counter, to the whole number, as it is after every boot; None where the kernel does not say.

    On x86 the kernel derives bogomips from the counter's frequency, of which they are twice the MHz (lpj_fine in
    arch/x86/kernel/tsc.c, calibrate_delay in init/calibrate.c).
    """
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "bogomips":
            return round(float(value) / 2)
    return None
