"""What runs inside a private hypervisor's namespaces: sets them up, keeps libvirt's daemons running, holds them open.

It also opens a way out of the network namespace, where it can: slirp4netns takes from a device inside what is for
elsewhere, and makes the connections in the machine's own namespace, as any program there would. The machine's network
stays as it is, and what serves on its loopback is out of reach, but for name servers.

Started by `host.libvirt.private` through `unshare --mount --net`; not meant to be run by hand.
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
# The instance's file that says why there is no way out; it is there only where there is none.
NO_WAY_OUT = "no-way-out"

_DAEMONS = {
    "virtlogd": ["virtlogd", "--config", "/etc/libvirt/virtlogd.conf", "--pid-file", "/run/libvirt/virtlogd.pid"],
    "libvirtd": ["libvirtd", "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", "/run/libvirt/libvirtd.pid"],
}
_WAY_OUT = "way-out"  # the network device that leads there
_WAY_OUT_LOG = "way-out.log"
# Of what is set aside for benchmarks of networks (RFC 2544): a lab, a registry, a company's network or that of a VPN is
# in another range, which would be out of reach here. 100.64.0.0/10 is not as empty, some VPNs and clouds live there.
_WAY_OUT_RANGE = "198.19.206.0/24"
_NAMES = "198.19.206.3"  # where slirp4netns takes questions for the machine's own name server
# The machine's name server is often one of its loopback, as that of systemd-resolved, and in here nobody is there. With
# another /etc/resolv.conf mounted over the machine's, programs that go back outside would not find names, and the mount
# would be gone as soon as the machine's is replaced.
_QUESTIONS_FOR_NAMES = f"""
add table ip hardway
delete table ip hardway
table ip hardway {{
    chain output {{
        type nat hook output priority -100
        ip daddr 127.0.0.0/8 meta l4proto {{ tcp, udp }} th dport 53 dnat to {_NAMES}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        ip saddr 127.0.0.0/8 oifname "{_WAY_OUT}" masquerade
    }}
}}
"""
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


def hold(instance: Path) -> int:
    """Keeps the daemons running until SIGTERM comes, then ends them. VMs are not the daemons' children and stay.

    Returns the exit code: 1 where a daemon doesn't stay up. The way out may be missing.
    """
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    way_out = _open_way_out(instance)
    running = {name: _Daemon(command) for name, command in _DAEMONS.items()}
    failed = False
    while not stopping and not failed:
        time.sleep(_WATCH_INTERVAL)
        for name, daemon in running.items():
            if not daemon.ended():
                continue
            failed = failed or daemon.too_soon()
            verdict = "it can't work here" if failed else "starting it again"
            print(f"{name} ended with exit code {daemon.child.returncode}: {verdict}", file=sys.stderr, flush=True)
            if not failed:
                running[name] = _Daemon(_DAEMONS[name])
        if way_out is not None and way_out.ended():
            if way_out.too_soon():
                _record_no_way_out(instance)
                way_out = None
            else:
                way_out = _open_way_out(instance)
    for daemon in running.values():
        daemon.end()
    if way_out is not None:
        way_out.end()
    return 1 if failed else 0


def _open_way_out(instance: Path) -> _Daemon | None:
    """Starts slirp4netns, and returns when it serves; None where it can't, and then the instance has the reason."""
    ready, told = os.pipe()
    with (instance / _WAY_OUT_LOG).open("w") as log, os.fdopen(ready) as answer:
        slirp = _Daemon(
            [
                *("nsenter", f"--net={instance / OUTSIDE}", "slirp4netns", "--configure", "--mtu=65520"),
                *(f"--cidr={_WAY_OUT_RANGE}", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp"),
                # Its input is a pipe from this process: it ends with it, however that is.
                *("--exit-fd=0", f"--ready-fd={told}", str(os.getpid()), _WAY_OUT),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=[told],
        )
        os.close(told)
        if answer.read(1) and _pass_on_questions_for_names(log):
            (instance / NO_WAY_OUT).unlink(missing_ok=True)
            return slirp
    slirp.end()
    _record_no_way_out(instance)
    return None


def _record_no_way_out(instance: Path) -> None:
    """Hands on why there is none: what slirp4netns, or nft, has said."""
    reason = "; ".join((instance / _WAY_OUT_LOG).read_text(errors="replace").splitlines())
    print(f"There is no way out: {reason}", file=sys.stderr, flush=True)
    (instance / NO_WAY_OUT).write_text(reason)


def _pass_on_questions_for_names(log: TextIO) -> bool:
    """Has questions to name servers of the machine's loopback answered there. Returns whether it could."""
    script = f"echo 1 >/proc/sys/net/ipv4/conf/{_WAY_OUT}/route_localnet && exec nft --file -"
    return subprocess.run(["sh", "-c", script], input=_QUESTIONS_FOR_NAMES, text=True, stderr=log).returncode == 0


class _Daemon:
    """A daemon that was started, and when (seconds of the monotonic clock)."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.child = subprocess.Popen(command, **{"stdin": subprocess.DEVNULL, **options})
        self.since = time.monotonic()

    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.child.poll() is not None

    def too_soon(self) -> bool:
        """Whether one that has ended now can't work here."""
        return time.monotonic() - self.since < _TOO_SOON

    def end(self) -> None:
        """Ends it where it runs."""
        self.child.terminate()
        self.child.wait()


def main() -> None:
    """Arguments: the instance's folder, and `kvm` or `emulation`."""
    instance, acceleration = Path(sys.argv[1]), sys.argv[2]
    os.chdir("/")
    set_up(instance, hide_kvm=acceleration != "kvm")
    sys.exit(hold(instance))


if __name__ == "__main__":
    main()
