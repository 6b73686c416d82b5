"""What a run was made on and with."""

import os
import platform
import re
from pathlib import Path

from lab import versions
from tests.support.running_lab import RunningLab


def machine(lab: RunningLab) -> dict[str, str]:
    """The machine: processor, memory, system, and how it runs VMs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    model = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    runs_by = {"kvm": "KVM", "qemu": "emulation"}[lab.environment["HARDWAY_VIRTUALIZATION"]]
    return {
        "processor": f"{os.cpu_count()} x {model.group(1) if model else platform.machine()}",
        "memory": f"{memory:.1f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "virtual machines": runs_by,
    }


def load() -> str:
    """How busy the machine is, by the load of the last minute: other work on it lengthens every figure."""
    return f"{os.getloadavg()[0]:.1f}"


def used_versions(lab: RunningLab) -> dict[str, str]:
    """What the lab was made with."""
    emulator = lab.run("qemu-system-x86_64", "--version").stdout.splitlines()[0]
    found = re.search(r"version (\S+)", emulator)
    return {
        "kubernetes": versions.default_kubernetes_version(),
        "pulumi": lab.run("pulumi", "version").stdout.strip(),
        "python": lab.run(str(lab.workspace.venv / "bin" / "python"), "--version").stdout.split()[1],
        "qemu": found.group(1) if found else emulator,
    }
