"""Find out if KVM works here. The device proves little: on some machines a guest hangs or QEMU fails."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from system.commands import attempt, run
from system.errors import HostError
from system.files import write_atomically
from system.processes import boot_id

DEVICE = Path("/dev/kvm")

_QEMU = "qemu-system-x86_64"
_TIMEOUT = 20.0
"""Seconds. A kernel needs about one where KVM works."""
# A kernel without a root file system gets as far as looking for it, past everything that KVM could fail at.
_SUCCESS = "Kernel panic - not syncing: VFS"


def works(kernel: Path, cache: Path, as_root: Sequence[str] = ()) -> bool:
    """Return True if a guest runs under KVM here, found out by booting `kernel` for a few seconds.

    The result is kept in the cache until the machine reboots or has another QEMU.

    Args:
        kernel: A Linux kernel.
        cache: Folder of the result.
        as_root: Words to put before a command to run it as root; empty if that is not possible. VMs run as root or as
            libvirt's own user, so KVM can work for them even if the caller may not use the device.
    """
    if not DEVICE.exists():
        return False
    if os.access(DEVICE, os.R_OK | os.W_OK):
        as_root = ()
    elif not as_root:
        return False
    if shutil.which(_QEMU) is None:
        return False
    version = run([_QEMU, "--version"], why="reading the version of QEMU", error=HostError).splitlines()[0]
    key = f"{boot_id()} {version}"
    record = cache / "kvm"
    if record.exists():
        known, _, answer = record.read_text().rpartition("\n")
        if known == key:
            return answer == "serves"
    # A separate command, so that typing a password does not use up the guest's time.
    if as_root and attempt([*as_root, "true"]).returncode != 0:
        return False
    answer = "serves" if boots(kernel, "kvm", "host", as_root=as_root) else "does not serve"
    cache.mkdir(parents=True, exist_ok=True)
    write_atomically(record, f"{key}\n{answer}")
    return answer == "serves"


def boots(kernel: Path, accelerator: str, cpu: str, timeout: float = _TIMEOUT, as_root: Sequence[str] = ()) -> bool:
    """Return True if a kernel boots under an accelerator and CPU model of QEMU in time.

    Args:
        kernel: A Linux kernel.
        accelerator: `kvm` or `tcg`.
        cpu: QEMU's CPU model.
        timeout: Seconds until QEMU is killed.
        as_root: Words to put before the command to run it as root.
    """
    command = [
        # Only root can end root's QEMU, so `timeout` runs as root, too.
        *(*as_root, "timeout", "--foreground", "--signal=KILL", str(timeout)),
        *(_QEMU, "-accel", accelerator, "-cpu", cpu, "-m", "256"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
    ]
    # panic=-1 with -no-reboot: the guest's panic ends QEMU.
    result = attempt(command)
    return result.returncode == 0 and _SUCCESS in result.stdout
