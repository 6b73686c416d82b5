"""The Debian packages that the machine needs, and putting in place those that are missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from system.errors import HostError

_POLICY = Path("/usr/sbin/policy-rc.d")
_DPKG_JOURNAL = Path("/var/lib/dpkg/updates")
_POLICY_TEXT = """\
#!/bin/sh
# Written by Hardway while it installs packages: no init system runs here, so no service is to be started.
exit 101
"""


@dataclass(frozen=True)
class Package:
    """A package and what it is needed for.

    since:   the first Debian release that has it (its contents are part of another package before).
    systemd: whether it is for machines with systemd only.
    """

    name: str
    reason: str
    since: int = 0
    systemd: bool = False


PROGRAM = (Package("python3-venv", "the virtual environment that the Pulumi program runs in"),)
LAB = (Package("openssh-client", "a shell on a node"),)
VM = (Package("genisoimage", "cloud-init volumes"),)
HYPERVISOR = (
    Package("libvirt-daemon", "libvirtd and virtlogd, which run the VMs"),
    Package("libvirt-daemon-driver-qemu", "libvirt's driver for QEMU"),
    Package("libvirt-daemon-driver-network", "libvirt's driver for the lab's network", since=13),
    Package("libvirt-daemon-driver-storage", "libvirt's driver for the VMs' disks", since=13),
    Package("libvirt-daemon-system", "the system's libvirtd as a service", systemd=True),
    Package("libvirt-clients", "virsh, to ask libvirtd whether it is ready"),
    Package("qemu-system-x86", "the VMs"),
    Package("qemu-utils", "disk images"),
    Package("dnsmasq-base", "addresses and names in the lab's network"),
    Package("iptables", "libvirt's rules for the lab's network"),
    Package("nftables", "rules for the lab's network: libvirt's in newer releases, and those of its way out"),
    Package("iproute2", "network interfaces"),
    Package("slirp4netns", "the VMs' way out where libvirt runs privately"),
)
TESTS = (
    Package("openssh-server", "a real sshd for the tests of remote commands"),
    Package("shellcheck", "the check of shell programs"),
    Package("jq", "what the nodes' own programs read JSON with"),
)


def has_systemd() -> bool:
    """Whether systemd is this machine's init system (as sd_booted(3) finds out)."""
    return Path("/run/systemd/system").is_dir()


def debian_release(os_release: Path = Path("/etc/os-release")) -> int:
    """Debian's release number, 12 or 13. Raises HostError for any other system."""
    fields = dict(line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    name = fields.get("PRETTY_NAME", "an unknown system").strip('"')
    version = fields.get("VERSION_ID", "").strip('"')
    if fields.get("ID", "").strip('"') != "debian" or version not in ("12", "13"):
        raise HostError(
            f"This machine runs {name}. Packages are installed on Debian 12 and 13 alone; on another system install "
            "libvirt, QEMU, genisoimage, dnsmasq and iptables yourself and run `pulumi up` with your own Pulumi."
        )
    return int(version)


def wanted(packages: Iterable[Package], release: int, systemd: bool) -> dict[str, str]:
    """Name and reason of those of `packages` that a machine of this Debian release, with or without systemd, needs."""
    return {
        package.name: package.reason
        for package in packages
        if package.since <= release and (systemd or not package.systemd)
    }


def missing(names: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed."""
    result = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\\n", *names],
        capture_output=True,
        text=True,
        check=False,  # it fails where it knows nothing of one of them
    )
    installed = {line.split()[0] for line in result.stdout.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install(reasons: Mapping[str, str]) -> list[str]:
    """Installs what is missing of the packages named by the keys; the values say what each is needed for.

    Returns what it installed. Raises HostError where that is not possible.
    """
    names = missing(reasons)
    if not names:
        _end_policy()
        return []
    for name in names:
        print(f"  {name}: {reasons[name]}", flush=True)
    with _no_services():
        _apt_get("update", "--quiet=2")
        install = ("install", "--yes", "--quiet=2", "--no-install-recommends", *names)
        try:
            _apt_get(*install)
        except HostError:
            if not _dpkg_was_interrupted():
                raise
            _run_as_root("dpkg", "--configure", "--pending")
            _apt_get(*install)
    return names


def as_root() -> list[str]:
    """What to put before a command that only root may run. Raises HostError where there is no way to become root."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        raise HostError("This step needs root. Run it as root, or install sudo and allow yourself to use it.")
    return ["sudo"]


def _apt_get(*arguments: str) -> None:
    # Another apt-get may be at work: wait for its lock instead of failing at once.
    _run_as_root("apt-get", *arguments, "--option", "DPkg::Lock::Timeout=600", "--option", "Dpkg::Use-Pty=0")


def _dpkg_was_interrupted() -> bool:
    """Whether dpkg was killed at its work, after which apt-get refuses to do any; as apt itself finds out."""
    return any(entry.name.isdigit() for entry in _DPKG_JOURNAL.iterdir())


def _run_as_root(*command: str) -> None:
    environment = ("env", "DEBIAN_FRONTEND=noninteractive", "NEEDRESTART_MODE=l")
    result = subprocess.run(
        [*as_root(), *environment, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise HostError(f"{command[0]} {command[1]} failed:\n{result.stdout.strip()}")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keeps packages from starting services where no init system runs; a policy that is there already is left alone."""
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
    """Removes the policy where it is ours; a run that was killed may have left it."""
    if _POLICY.exists() and _is_ours():
        _set_policy(["rm", "--force", str(_POLICY)])


def _set_policy(command: list[str], text: str = "") -> None:
    # What stopped it stands above: sudo asks, and refuses, on the terminal.
    if subprocess.run([*as_root(), *command], input=text, text=True, check=False).returncode != 0:
        raise HostError(
            f"{_POLICY}, by which no service is started while packages are installed, could not be changed."
        )


def _is_ours() -> bool:
    return _POLICY.read_text() == _POLICY_TEXT
