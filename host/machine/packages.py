"""The Debian packages that this machine needs, and their installation."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from system import console
from system.commands import as_root, attempt, quote, run_visibly
from system.errors import HostError

_POLICY = Path("/usr/sbin/policy-rc.d")
_DPKG_JOURNAL = Path("/var/lib/dpkg/updates")
_LOCK_TIMEOUT = 600
"""Seconds to wait for another program that installs packages."""
_LOCK_INTERVAL = 5
_POLICY_TEXT = """\
#!/bin/sh
# Written by Hardway while it installs packages: no init system runs here, so no service may start.
exit 101
"""


@dataclass(frozen=True)
class Package:
    """A package and the reason to install it.

    Attributes:
        name: Name of the package.
        reason: Printed when the package is installed.
        since: First Debian release that has it. Before, its contents are part of another package.
        systemd: True if only machines with systemd need it.
    """

    name: str
    reason: str
    since: int = 0
    systemd: bool = False


PROGRAM = (Package("python3-venv", "the virtual environment that the Pulumi program runs in"),)
LAB = (Package("openssh-client", "a shell on a node"),)
VM = (
    Package("genisoimage", "volumes for cloud-init"),
    Package("libvirt-clients", "virsh, which shows the state of libvirtd and of VMs"),
)
HYPERVISOR = (
    Package("libvirt-daemon", "libvirtd and virtlogd, which run the VMs"),
    Package("libvirt-daemon-driver-qemu", "libvirt's driver for QEMU"),
    Package("libvirt-daemon-driver-network", "libvirt's driver for the lab's network", since=13),
    Package("libvirt-daemon-driver-storage", "libvirt's driver for the VMs' disks", since=13),
    Package("libvirt-daemon-system", "the system's libvirtd as a service", systemd=True),
    Package("qemu-system-x86", "the VMs"),
    Package("qemu-utils", "disk images"),
    Package("dnsmasq-base", "addresses and names in the lab's network"),
    Package("iptables", "libvirt's rules for the lab's network"),
    Package("nftables", "rules for the lab's network: libvirt's in newer releases, and those of the VMs' egress"),
    Package("iproute2", "network interfaces"),
    Package("slirp4netns", "the VMs' egress from a private libvirt's network"),
)
TESTS = (
    Package("openssh-server", "a real sshd for the tests of remote commands"),
    Package("shellcheck", "the check of shell programs"),
    Package("jq", "the reader of JSON in the nodes' programs"),
)


def has_systemd() -> bool:
    """Return True if systemd is this machine's init system (the test of sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def debian_release(os_release: Path = Path("/etc/os-release")) -> int:
    """Return Debian's release number, 12 or 13.

    Raises:
        HostError: This machine runs another system.
    """
    fields = dict(line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    name = fields.get("PRETTY_NAME", "an unknown system").strip('"')
    version = fields.get("VERSION_ID", "").strip('"')
    if fields.get("ID", "").strip('"') != "debian" or version not in ("12", "13"):
        raise HostError(
            f"This machine runs {name}. Hardway installs packages only on Debian 12 and 13. On another system, install "
            "libvirt, QEMU, genisoimage, dnsmasq and iptables yourself and run `pulumi up` with your own Pulumi."
        )
    return int(version)


def needed(packages: Iterable[Package], release: int, systemd: bool) -> dict[str, str]:
    """Return the packages that a machine needs, as names with reasons.

    Args:
        packages: The candidates.
        release: The machine's Debian release.
        systemd: True if the machine runs systemd.
    """
    return {
        package.name: package.reason
        for package in packages
        if package.since <= release and (systemd or not package.systemd)
    }


def missing(names: Iterable[str]) -> list[str]:
    """Return the packages that are not installed."""
    # It fails if it does not know one of them.
    result = attempt(["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *names])
    installed = {line.split()[0] for line in result.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install(reasons: Mapping[str, str]) -> list[str]:
    """Install the packages that are missing.

    Args:
        reasons: The reason for each package, by name.

    Returns:
        The installed packages.

    Raises:
        HostError: They cannot be installed.
    """
    names = missing(reasons)
    if not names:
        _end_policy()
        return []
    for name in names:
        console.note(f"{name}: {reasons[name]}")
    with _no_services():
        _apt_get("update", "--quiet=2")
        install = ("install", "--yes", "--quiet=2", "--no-install-recommends", *names)
        try:
            _apt_get(*install)
        except HostError:
            if not _dpkg_was_interrupted():
                raise
            _await_locks("dpkg", "--configure", "--pending")
            _apt_get(*install)
    return names


def _apt_get(*arguments: str) -> None:
    """Run apt-get. It waits itself only for the lock of dpkg, and not for that of the package lists."""
    options = ("--option", f"DPkg::Lock::Timeout={_LOCK_TIMEOUT}", "--option", "Dpkg::Use-Pty=0")
    _await_locks("apt-get", *arguments, *options)


def _await_locks(*command: str) -> None:
    """Run a command. If another program installs packages, wait for its locks instead of failing at once."""
    deadline, holder = time.monotonic() + _LOCK_TIMEOUT, ""
    while True:
        try:
            _run_as_root(*command)
            return
        except HostError as error:
            held = re.search(r"Could not get lock .*|dpkg .* lock was locked by another process.*", str(error))
            if held is None or time.monotonic() > deadline:
                raise
            if held[0] != holder:
                holder = held[0]
                console.note(f"waiting until another program has installed packages: {holder}")
        time.sleep(_LOCK_INTERVAL)


def _dpkg_was_interrupted() -> bool:
    """Return True if dpkg was killed: apt-get then refuses to work. This is apt's own test."""
    return any(entry.name.isdigit() for entry in _DPKG_JOURNAL.iterdir())


def _run_as_root(*command: str) -> None:
    environment = ("env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l")
    result = attempt([*as_root(may_ask=True), *environment, *command])
    if result.returncode != 0:
        raise HostError(f"{command[0]} {command[1]} failed:\n{quote(result)}")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keep packages from starting services if no init system runs. An existing policy of the machine stays."""
    if has_systemd() or (_POLICY.exists() and not _is_ours()):
        yield
        return
    script = 'cat >"$1" && chmod 0755 "$1"'
    _set_policy(["sh", "-c", script, "sh", str(_POLICY)], _POLICY_TEXT)
    try:
        yield
    finally:
        _end_policy()


def _end_policy() -> None:
    """Delete the policy if it is ours. A killed run may have left it."""
    if _POLICY.exists() and _is_ours():
        _set_policy(["rm", "--force", str(_POLICY)])


def _set_policy(command: list[str], text: str = "") -> None:
    # The reason is above: sudo asks, and refuses, on the terminal.
    run_visibly(
        [*as_root(may_ask=True), *command],
        failure=f"{_POLICY} could not be changed. It keeps services from starting while packages are installed.",
        stdin=text,
    )


def _is_ours() -> bool:
    return _POLICY.read_text() == _POLICY_TEXT
