"""The inside of a private libvirt's namespaces: set them up, keep libvirt's daemons running, hold them open.

It also gives the VMs egress, if it can. slirp4netns reads outgoing packets from a device inside and makes the
connections in the machine's own namespace, like any program there. The machine's network stays as it is, and the
services on its loopback cannot be reached, except for name servers.

`host.libvirt.private` starts it through `unshare --mount --net`. Do not run it by hand.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from system.commands import run
from system.errors import HostError

BOUND = {
    "lib": Path("/var/lib/libvirt"),
    "etc": Path("/etc/libvirt"),
    "cache": Path("/var/cache/libvirt"),
    "log": Path("/var/log/libvirt"),
}
"""Folders of the instance, and the paths where libvirt expects them."""
ACCOUNTS = {"passwd": Path("/etc/passwd"), "group": Path("/etc/group")}
"""Files with the machine's accounts and those that libvirt looks up when it starts, even if it must use root."""
MACHINE_NETWORK = "outside"
"""File of the instance that is the machine's own network namespace. Instances of earlier versions have the same."""
# libvirt keeps the state of running VMs here, so it must vanish with the namespace, as it does at a reboot elsewhere.
# Otherwise libvirtd would believe that its VMs still run and that their autostart is done.
RUNTIME = Path("/run/libvirt")
KVM = Path("/dev/kvm")
NO_EGRESS = "no-egress"
"""File of the instance with the reason why there is no egress. It exists only if there is none."""

_DAEMONS = {
    "virtlogd": ["virtlogd", "--config", "/etc/libvirt/virtlogd.conf", "--pid-file", "/run/libvirt/virtlogd.pid"],
    "libvirtd": ["libvirtd", "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", "/run/libvirt/libvirtd.pid"],
}
_EGRESS = "egress"
"""The network device of slirp4netns."""
_EGRESS_LOG = "egress.log"
# Part of the range for benchmarks of networks (RFC 2544). Labs, registries, companies and VPNs use other ranges, which
# would be out of reach here. 100.64.0.0/10 is not suitable, because some VPNs and clouds use it.
_EGRESS_RANGE = "198.19.206.0/24"
_DNS_RELAY = "198.19.206.3"
"""Address where slirp4netns accepts DNS queries for the machine's own name server."""
# The machine's name server is often on its loopback, such as that of systemd-resolved. Nothing answers on the loopback
# inside. Another /etc/resolv.conf, mounted over the machine's, would break programs that return to the machine's
# network, and the mount would vanish as soon as the machine replaces the file.
_DNS_RULES = f"""
add table ip hardway
delete table ip hardway
table ip hardway {{
    chain output {{
        type nat hook output priority -100
        ip daddr 127.0.0.0/8 meta l4proto {{ tcp, udp }} th dport 53 dnat to {_DNS_RELAY}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        ip saddr 127.0.0.0/8 oifname "{_EGRESS}" masquerade
    }}
}}
"""
_WATCH_INTERVAL = 0.5
"""Seconds."""
_MIN_LIFETIME = 5.0
"""Seconds. A daemon that ends earlier cannot work here, and starting it again would not help."""


def _run(*command: str) -> None:
    run(command, why="setting up the namespaces of the private libvirt", error=HostError)


def hiding_kvm(instance: Path) -> list[list[str]]:
    """Return the commands that hide /dev/kvm in a mount namespace.

    If the device exists but does not work, libvirt probes QEMU again for each domain. A read-only file fails even root.
    """
    return [["mount", "--bind", str(instance / "kvm"), str(KVM)], ["mount", "-o", "remount,bind,ro", str(KVM)]]


def showing_kvm() -> list[list[str]]:
    """Return the commands that show /dev/kvm again."""
    return [["umount", str(KVM)]]


def set_up(instance: Path, hide_kvm: bool) -> None:
    """Set up this process's mount and network namespaces for libvirt."""
    for name, place in BOUND.items():
        _run("mount", "--bind", str(instance / name), str(place))
    for name, place in ACCOUNTS.items():
        _run("mount", "--bind", str(instance / name), str(place))
    _run("mount", "-t", "tmpfs", "-o", "mode=0755", "hardway", str(RUNTIME))
    # sysfs shows the network devices of the namespace in which it was mounted. The cgroups below the old mount go with
    # it, so libvirt does not look for a hierarchy that nothing manages here.
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


def hold(instance: Path) -> int:
    """Keep the daemons running until SIGTERM, then end them. VMs are not the daemons' children and continue.

    Returns:
        The exit code: 1 if a daemon does not stay up. Missing egress is no failure.
    """
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    egress = _start_egress(instance)
    running = {name: _Daemon(command) for name, command in _DAEMONS.items()}
    failed = False
    while not stopping and not failed:
        time.sleep(_WATCH_INTERVAL)
        for name, daemon in running.items():
            if not daemon.ended():
                continue
            failed = failed or daemon.failed_early()
            reaction = "it cannot work here" if failed else "starting it again"
            print(f"{name} ended with exit code {daemon.child.returncode}: {reaction}", file=sys.stderr, flush=True)
            if not failed:
                running[name] = _Daemon(_DAEMONS[name])
        if egress is not None and egress.ended():
            if egress.failed_early():
                _record_no_egress(instance)
                egress = None
            else:
                egress = _start_egress(instance)
    for daemon in running.values():
        daemon.end()
    if egress is not None:
        egress.end()
    return 1 if failed else 0


def _start_egress(instance: Path) -> _Daemon | None:
    """Start slirp4netns and return it when it works. None if it fails; the reason is then in the instance."""
    ready, written = os.pipe()
    with (instance / _EGRESS_LOG).open("w") as log, os.fdopen(ready) as answer:
        slirp = _Daemon(
            [
                *("nsenter", f"--net={instance / MACHINE_NETWORK}", "slirp4netns", "--configure", "--mtu=65520"),
                *(f"--cidr={_EGRESS_RANGE}", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"),
                # Its input is a pipe from this process, so it ends with this process in every case.
                *("--exit-fd=0", f"--ready-fd={written}", str(os.getpid()), _EGRESS),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=[written],
        )
        os.close(written)
        if answer.read(1) and _redirect_dns(log):
            (instance / NO_EGRESS).unlink(missing_ok=True)
            return slirp
    slirp.end()
    _record_no_egress(instance)
    return None


def _record_no_egress(instance: Path) -> None:
    """Record the reason, which is the output of slirp4netns or nft."""
    reason = "; ".join((instance / _EGRESS_LOG).read_text(errors="replace").splitlines())
    print(f"There is no egress: {reason}", file=sys.stderr, flush=True)
    (instance / NO_EGRESS).write_text(reason)


def _redirect_dns(log: TextIO) -> bool:
    """Redirect DNS queries for the machine's loopback to slirp4netns. Return True on success."""
    script = f"echo 1 >/proc/sys/net/ipv4/conf/{_EGRESS}/route_localnet && exec nft --file -"
    return subprocess.run(["sh", "-c", script], input=_DNS_RULES, text=True, stderr=log).returncode == 0


class _Daemon:
    """A started daemon.

    Attributes:
        child: The process.
        since: Time of the start, in seconds of the monotonic clock.
    """

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.child = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, **options})
        self.since = time.monotonic()

    def ended(self) -> bool:
        """Return True if it does not run any more."""
        return self.child.poll() is not None

    def failed_early(self) -> bool:
        """Return True if it cannot work here, because it has ended just after its start."""
        return time.monotonic() - self.since < _MIN_LIFETIME

    def end(self) -> None:
        """End it if it runs."""
        self.child.terminate()
        self.child.wait()


def main() -> None:
    """Set up the namespaces and hold them. Arguments: the instance's folder, and `kvm` or `emulation`."""
    instance, acceleration = Path(sys.argv[1]), sys.argv[2]
    os.chdir("/")
    set_up(instance, hide_kvm=acceleration != "kvm")
    sys.exit(hold(instance))


if __name__ == "__main__":
    main()
