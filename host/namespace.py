"""What runs inside a private hypervisor's namespaces: sets them up, keeps libvirt's daemons running, holds them open.

Started by `host.hypervisor` through `unshare --mount --net`; not meant to be run by hand.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

# Folders of the instance and the places in the file system where libvirt expects them.
BOUND = {
    "lib": Path("/var/lib/libvirt"),
    "etc": Path("/etc/libvirt"),
    "cache": Path("/var/cache/libvirt"),
    "log": Path("/var/log/libvirt"),
}
# The machine's accounts and those that libvirt looks up at its start even where it is told to use root.
ACCOUNTS = {"passwd": Path("/etc/passwd"), "group": Path("/etc/group")}
# The instance's file that inside is the machine's own network namespace.
OUTSIDE = "outside"
# What libvirt keeps here says what runs now, so it must go with the namespace, as it does with a reboot elsewhere:
# a left-over would make libvirtd believe that its VMs still run and their autostart is done.
RUNTIME = Path("/run/libvirt")
KVM = Path("/dev/kvm")

_DAEMONS = {
    "virtlogd": ["virtlogd", "--config", "/etc/libvirt/virtlogd.conf", "--pid-file", "/run/libvirt/virtlogd.pid"],
    "libvirtd": ["libvirtd", "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", "/run/libvirt/libvirtd.pid"],
}
_WATCH_INTERVAL = 0.5  # seconds
_TOO_SOON = 5.0  # seconds: a daemon that ends earlier can't work here, and starting it again would not help


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def hiding_kvm(instance: Path) -> list[list[str]]:
    """The commands that hide /dev/kvm in a mount namespace.

    libvirt probes QEMU again for each domain where the device is there but of no use; read-only fails even root.
    """
    return [["mount", "--bind", str(instance / "kvm"), str(KVM)], ["mount", "-o", "remount,bind,ro", str(KVM)]]


def showing_kvm() -> list[list[str]]:
    """The commands that show it again."""
    return [["umount", str(KVM)]]


def set_up(instance: Path, hide_kvm: bool) -> None:
    """Makes the mount and network namespace that this process is in what libvirt needs."""
    for name, place in BOUND.items():
        _run("mount", "--bind", str(instance / name), str(place))
    for name, place in ACCOUNTS.items():
        _run("mount", "--bind", str(instance / name), str(place))
    _run("mount", "-t", "tmpfs", "-o", "mode=0755", "hardway", str(RUNTIME))
    # sysfs shows the network devices of the namespace it was mounted in. The cgroups below the old one go with it, and
    # the lazy unmount keeps libvirt from looking for a hierarchy that nobody manages here.
    _run("umount", "--lazy", "/sys")
    _run("mount", "-t", "sysfs", "sysfs", "/sys")
    if hide_kvm and KVM.exists():
        for command in hiding_kvm(instance):
            _run(*command)
    _run("ip", "link", "set", "lo", "up")
    for forwarding in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        switch = Path("/proc/sys") / forwarding
        if switch.exists():
            switch.write_text("1")


def hold() -> int:
    """Keeps the daemons running until SIGTERM comes, then ends them. VMs are not the daemons' children and stay.

    Returns the exit code: 1 where a daemon doesn't stay up.
    """
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    running = {name: _Daemon(name) for name in _DAEMONS}
    failed = False
    while not stopping and not failed:
        time.sleep(_WATCH_INTERVAL)
        for name, daemon in running.items():
            if daemon.child.poll() is None:
                continue
            failed = failed or time.monotonic() - daemon.since < _TOO_SOON
            verdict = "it can't work here" if failed else "starting it again"
            print(f"{name} ended with exit code {daemon.child.returncode}: {verdict}", file=sys.stderr, flush=True)
            if not failed:
                running[name] = _Daemon(name)
    for daemon in running.values():
        daemon.child.terminate()
        daemon.child.wait()
    return 1 if failed else 0


class _Daemon:
    """A daemon that was started, and when (seconds of the monotonic clock)."""

    def __init__(self, name: str) -> None:
        self.child = subprocess.Popen(_DAEMONS[name], stdin=subprocess.DEVNULL)
        self.since = time.monotonic()


def main() -> None:
    """Arguments: the instance's folder, and `kvm` or `emulation`."""
    instance, acceleration = Path(sys.argv[1]), sys.argv[2]
    os.chdir("/")
    set_up(instance, hide_kvm=acceleration != "kvm")
    sys.exit(hold())


if __name__ == "__main__":
    main()
