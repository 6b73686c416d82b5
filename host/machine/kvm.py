"""Whether KVM really serves. The device alone says little: there are machines where a guest hangs or QEMU fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from system.processes import boot_id

DEVICE = Path("/dev/kvm")

_QEMU = "qemu-system-x86_64"
_BOUND = 20.0  # seconds; a kernel that is served well needs about one
# A kernel without a root file system gets as far as looking for it, past everything that KVM could fail at.
_THROUGH = b"Kernel panic - not syncing: VFS"


def serves(kernel: Path, cache: Path, as_root: Sequence[str] = ()) -> bool:
    """Whether a guest runs under KVM here: boots `kernel` under it for a few seconds.

    The answer is kept in the folder `cache` until the machine is booted anew or has another QEMU.

    as_root: what to put before a command to run it as root, empty for no way. VMs run as root or as a user of libvirt's
             own, so KVM serves them where just the caller may not use the device.
    """
    if not DEVICE.exists():
        return False
    if os.access(DEVICE, os.R_OK | os.W_OK):
        as_root = ()
    elif not as_root:
        return False
    if shutil.which(_QEMU) is None:
        return False
    version = subprocess.run([_QEMU, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    key = f"{boot_id()} {version}"
    record = cache / "kvm"
    if record.exists():
        known, _, answer = record.read_text().rpartition("\n")
        if known == key:
            return answer == "serves"
    # By itself, so that the time for a password is not the guest's.
    if as_root and subprocess.run([*as_root, "true"], stdin=subprocess.DEVNULL, check=False).returncode != 0:
        return False
    answer = "serves" if boots(kernel, "kvm", "host", as_root=as_root) else "does not serve"
    cache.mkdir(parents=True, exist_ok=True)
    draft = record.with_name(f"kvm.{os.getpid()}")
    draft.write_text(f"{key}\n{answer}")
    draft.replace(record)
    return answer == "serves"


def boots(kernel: Path, accelerator: str, cpu: str, bound: float = _BOUND, as_root: Sequence[str] = ()) -> bool:
    """Whether `kernel` gets through its start under the given accelerator and CPU model within `bound` seconds."""
    command = [
        # Root's QEMU could be ended by root alone.
        *(*as_root, "timeout", "--foreground", "--signal=KILL", str(bound)),
        *(_QEMU, "-accel", accelerator, "-cpu", cpu, "-m", "256"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
    ]
    # panic=-1 with -no-reboot: the guest's panic ends QEMU.
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
    )
    return result.returncode == 0 and _THROUGH in result.stdout
