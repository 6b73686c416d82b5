"""The machine and the versions of a benchmark run."""

import os
import platform
import re
from pathlib import Path

from lab import versions
from tests.support.running_lab import RunningLab


def machine(lab: RunningLab) -> dict[str, str]:
    """Return processor, memory, system and virtualization of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    virtualization = {"kvm": "KVM", "qemu": "emulation"}[lab.environment["HARDWAY_VIRTUALIZATION"]]
    return {
        "processor": f"{os.cpu_count()} x {model.group(1) if model else platform.machine()}",
        "memory": f"{memory:.1f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "virtual machines": virtualization,
    }


def load() -> str:
    """Return the load average of the last minute. Other work on the machine makes every figure larger."""
    return f"{os.getloadavg()[0]:.1f}"


def used_versions(lab: RunningLab) -> dict[str, str]:
    """Return the versions of the programs that the lab uses."""
    emulator = lab.run("qemu-system-x86_64", "--version").stdout.splitlines()[0]
    found = re.search(r"version (\S+)", emulator)
    return {
        "kubernetes": versions.default_kubernetes_version(),
        "pulumi": lab.run("pulumi", "version").stdout.strip(),
        "python": lab.run(str(lab.workspace.venv / "bin" / "python"), "--version").stdout.split()[1],
        "qemu": found.group(1) if found else emulator,
    }
