"""The network, storage pool and VMs of a lab as they are now. The engine compares inputs and does not look at them."""

from __future__ import annotations

import socket
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from host.libvirt.vms import PAUSED, RUNNING, SAVED, SHUT_OFF, Vms, parse_states
from system.commands import attempt, run
from system.errors import HostError

_BOOT_TIMEOUT = 300
"""Seconds that a VM may take until its SSH server accepts connections. Emulated VMs boot slowly."""
_LISTINGS = ("net-list --all", "pool-list --all", "list --all --managed-save")
_INACTIVE = "inactive"
_START: Mapping[str, Sequence[str]] = {
    SHUT_OFF: ("start",),
    "crashed": ("start",),
    PAUSED: ("resume",),
    "pmsuspended": ("dompmwakeup",),
    # All of these continue together.
    SAVED: (),
}
"""The command of virsh that makes a VM run, by its state in libvirt's words."""


@dataclass(frozen=True, kw_only=True)
class LibvirtLab:
    """The libvirt objects of a lab, by name. Those of a lab that is not up yet do not exist.

    Attributes:
        uri: URI of the daemon.
        network: The network.
        pool: The storage pool.
        vms: The address of each VM.
    """

    uri: str
    network: str
    pool: str
    vms: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Stopped:
    """The parts of a lab that exist, but do not run.

    Attributes:
        lab: The lab.
        network: True if the network is stopped.
        pool: True if the pool is stopped.
        vms: State of each VM that does not run, by name.
        running: The VMs that run.
    """

    lab: LibvirtLab
    network: bool
    pool: bool
    vms: Mapping[str, str]
    running: Collection[str]

    def __bool__(self) -> bool:
        """Return True if anything is stopped."""
        return bool(self.network or self.pool or self.vms)

    def __str__(self) -> str:
        """Describe everything that is stopped, such as `VM hardway-node-1 is shut off`."""
        parts = [f"network {self.lab.network} is {_INACTIVE}"] if self.network else []
        parts += [f"pool {self.lab.pool} is {_INACTIVE}"] if self.pool else []
        parts += [f"VM {name} is {'stopped' if state == SAVED else state}" for name, state in sorted(self.vms.items())]
        return ", ".join(parts)

    def start(self) -> None:
        """Start everything that is stopped, and wait until the VMs can be reached.

        VMs that ran while their network was stopped are started again, because they stay disconnected from it.

        Raises:
            HostError: virsh reports an error, or a VM cannot be reached in time.
        """
        if self.pool:
            self._virsh("pool-start", self.lab.pool)
        disconnected: list[str] = []
        if self.network:
            self._virsh("net-start", self.lab.network)
            disconnected = sorted({*self.running, *(name for name, state in self.vms.items() if state == PAUSED)})
        for name in disconnected:
            self._virsh("destroy", name)
            self._virsh("start", name)
        for name in sorted(self.vms.keys() - set(disconnected)):
            if command := _START[self.vms[name]]:
                self._virsh(*command, name)
        if saved := sorted(name for name, state in self.vms.items() if state == SAVED):
            Vms(uri=self.lab.uri, names=saved).start()
        self._wait({*self.vms, *disconnected})

    def _wait(self, started: Collection[str]) -> None:
        """Wait until the SSH servers of VMs accept connections."""
        deadline, waiting = time.monotonic() + _BOOT_TIMEOUT, set(started)
        while waiting := {name for name in waiting if not _accepts_connections(self.lab.vms[name])}:
            if time.monotonic() > deadline:
                raise HostError(
                    f"{' and '.join(sorted(waiting))} did not answer within {_BOOT_TIMEOUT} s after the start. Look at "
                    f"the console: virsh --connect {self.lab.uri} console {min(waiting)}"
                )
            time.sleep(1)

    def _virsh(self, *command: str) -> None:
        why = f"starting what was stopped ({self}); look at it with virsh, and run `hardway up` again"
        run(["virsh", "--connect", self.lab.uri, *command], why=why, error=HostError)


def find(lab: LibvirtLab) -> Stopped | None:
    """Return what of a lab is stopped. None if nothing is, or libvirt does not answer.

    The engine reports a libvirt that does not answer, if it needs it.
    """
    try:
        # One process for all of them.
        answer = _virsh(lab.uri, "; ".join(_LISTINGS))
    except _NoAnswerError:
        return None
    tables = answer.strip("\n").split("\n\n")
    if len(tables) != len(_LISTINGS):
        return None  # A listing failed.
    networks, pools = (parse_states(table, has_id=False) for table in tables[:2])
    vms = parse_states(tables[2], has_id=True)
    stopped = Stopped(
        lab=lab,
        network=networks.get(lab.network) == _INACTIVE,
        pool=pools.get(lab.pool) == _INACTIVE,
        vms={name: vms[name] for name in lab.vms if vms.get(name) in _START},
        running=[name for name in lab.vms if vms.get(name) == RUNNING],
    )
    return stopped or None


def uuids(uri: str) -> dict[str, str] | None:
    """Return the UUID of every VM of a libvirt daemon by its name. None if it does not answer."""
    try:
        rows = (line.split() for line in _virsh(uri, "list", "--all", "--uuid", "--name").splitlines())
    except _NoAnswerError:
        return None
    return {row[1]: row[0] for row in rows if len(row) == 2}


def command_lines(uri: str, vms: Sequence[str]) -> dict[str, str]:
    """Return the kernel command line of VMs by name. VMs that have none are left out.

    Raises:
        HostError: libvirt does not describe them.
    """
    if not vms:
        return {}
    # One process for all of them.
    listing = "; ".join(f"dumpxml {name}" for name in vms)
    try:
        domains = ElementTree.fromstring(f"<domains>{_virsh(uri, listing)}</domains>")
    except (_NoAnswerError, ElementTree.ParseError):
        raise HostError(f"libvirt ({uri}) does not describe the VMs of the lab. Nothing was changed.") from None
    found = ((domain.findtext("name"), domain.findtext("os/cmdline")) for domain in domains)
    return {name: line for name, line in found if name and line}


class _NoAnswerError(Exception):
    """virsh is missing, or libvirt does not answer."""


def _virsh(uri: str, *command: str) -> str:
    try:
        answer = attempt(["virsh", "--connect", uri, *command], environment={"LC_ALL": "C"}, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        raise _NoAnswerError from None
    if answer.returncode != 0:
        raise _NoAnswerError
    return answer.stdout


def _accepts_connections(address: str) -> bool:
    try:
        socket.create_connection((address, 22), timeout=2).close()
    except OSError:
        return False
    return True
