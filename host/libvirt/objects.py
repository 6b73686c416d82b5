"""The libvirt objects that the program makes: what the state calls each, how virsh finds it and takes it away."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from host.libvirt.private import URI
from system.errors import HostError

# Seconds for libvirt to let go of a volume: it notices late that the upload into it was cut off.
_PATIENCE = 30.0


@dataclass(frozen=True)
class Kind:
    """Commands of virsh for one kind of object, with {name} and {pool} for the object's own.

    what:   what a person calls it.
    listed: lists the names of all of them.
    remove: take one away, each as far as there is something to do for it.
    users:  lists what lies in it or uses it. One that was only just being made has none of that, so one that has is
            somebody else's of the same name.
    """

    what: str
    listed: Sequence[str]
    remove: Sequence[Sequence[str]]
    users: Sequence[str] = ()


_VOLUME = Kind(
    what="volume",
    listed=("vol-list", "{pool}"),
    remove=(("vol-delete", "{name}", "--pool", "{pool}"),),
)

# By the resource's type, in the order in which they can be taken away: what uses another comes before it.
KINDS: Mapping[str, Kind] = {
    "libvirt:index/domain:Domain": Kind(
        what="domain",
        listed=("list", "--all", "--name"),
        remove=(
            ("destroy", "{name}"),
            ("undefine", "{name}", "--managed-save", "--nvram", "--snapshots-metadata", "--checkpoints-metadata"),
        ),
    ),
    "libvirt:index/cloudInitDisk:CloudInitDisk": _VOLUME,
    "libvirt:index/volume:Volume": _VOLUME,
    "libvirt:index/network:Network": Kind(
        what="network",
        listed=("net-list", "--all", "--name"),
        remove=(("net-destroy", "{name}"), ("net-undefine", "{name}")),
        users=("net-port-list", "{name}"),
    ),
    "libvirt:index/pool:Pool": Kind(
        what="pool",
        listed=("pool-list", "--all", "--name"),
        # Deleting removes its folder, which has to be empty.
        remove=(("pool-destroy", "{name}"), ("pool-delete", "{name}"), ("pool-undefine", "{name}")),
        users=("vol-list", "{name}"),
    ),
}
_POOL = "libvirt:index/pool:Pool"


@dataclass(frozen=True)
class LibvirtObject:
    """One object. type: the resource's. pool: a volume's, else empty. uri: the libvirtd that has it."""

    type: str
    name: str
    pool: str
    uri: str

    def __str__(self) -> str:
        return f"{KINDS[self.type].what} {self.name}" + (f" in pool {self.pool}" if self.pool else "")

    def take_away(self) -> str:
        """Takes the object away where it is there, and returns what was done as a clause.

        Raises HostError where it stays, with what libvirt says, and where libvirt does not answer.
        """
        if not self._exists():
            return f"{self} was not there (any more)"
        kind = KINDS[self.type]
        if users := self._users():
            return f"{self} is left as it is, because it has {', '.join(sorted(users))}"
        deadline = time.monotonic() + _PATIENCE
        while True:
            results = [self._virsh(command) for command in kind.remove]
            if not self._exists():
                return f"{self} was taken away"
            if time.monotonic() > deadline:
                said = " ".join(result.stderr.strip() for result in results if result.returncode != 0)
                raise HostError(f"An earlier run was killed, and the {self} that it left could not be removed: {said}")
            time.sleep(0.2)

    def _exists(self) -> bool:
        if self.pool and not LibvirtObject(_POOL, self.pool, "", self.uri)._exists():
            return False
        return self.name in self._names(KINDS[self.type].listed)

    def _users(self) -> set[str]:
        command = KINDS[self.type].users
        result = self._virsh(command) if command else None
        # An inactive one can't be asked, and has no users.
        return _first_column(result.stdout) if result is not None and result.returncode == 0 else set()

    def _names(self, command: Sequence[str]) -> set[str]:
        result = self._virsh(command)
        if result.returncode != 0:
            raise HostError(f"An earlier run was killed. What it left in libvirt is not known: {result.stderr.strip()}")
        return _first_column(result.stdout)

    def _virsh(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = [word.format(name=self.name, pool=self.pool) for word in command]
        return subprocess.run(
            ["virsh", "--connect", self.uri, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def identify(resource: Mapping[str, Any], uris: Mapping[str, str | None]) -> LibvirtObject | None:
    """The object that a resource of the state stands for; None where it is none of libvirt's or has no name yet.

    uris: what the libvirt providers of the state connect to, by the reference that resources have to them.
    """
    inputs = resource.get("inputs", {})
    if resource["type"] not in KINDS or not isinstance(inputs.get("name"), str):
        return None
    pool = inputs.get("pool", "") if KINDS[resource["type"]] is _VOLUME else ""
    uri = uris.get(resource.get("provider", "")) or URI
    return LibvirtObject(resource["type"], inputs["name"], pool, uri)


def order(subject: LibvirtObject) -> tuple[int, str, str]:
    """The key by which objects are sorted into the order in which they can be taken away."""
    return list(KINDS).index(subject.type), subject.pool, subject.name


def _first_column(table: str) -> set[str]:
    """The names in what virsh lists, with or without a header over a line of dashes."""
    lines = table.splitlines()
    dashes = [number for number, line in enumerate(lines) if line and not line.strip("-")]
    rows = lines[dashes[0] + 1 :] if dashes else lines
    return {row.split()[0] for row in rows if row.strip()}
