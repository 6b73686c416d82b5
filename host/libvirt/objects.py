"""The libvirt objects that the program creates: find them in the state, and list and delete them with virsh."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from host.libvirt.private import URI
from system.commands import attempt
from system.errors import HostError

_DELETE_TIMEOUT = 30.0
"""Seconds. libvirt notices late that the upload into a volume was interrupted, and releases the volume only then."""


@dataclass(frozen=True)
class Kind:
    """Commands of virsh for one kind of object. `{name}` and `{pool}` stand for those of the object.

    Attributes:
        title: Name of the kind in messages.
        list_all: Lists the names of all objects.
        delete: Commands that delete an object, each if it applies.
        list_users: Lists the objects that are in it or use it. An object whose creation was interrupted has none, so
            an object with users belongs to somebody else, although it has the same name.
    """

    title: str
    list_all: Sequence[str]
    delete: Sequence[Sequence[str]]
    list_users: Sequence[str] = ()


_VOLUME = Kind(
    title="volume",
    list_all=("vol-list", "{pool}"),
    delete=(("vol-delete", "{name}", "--pool", "{pool}"),),
)

KINDS: Mapping[str, Kind] = {
    "libvirt:index/domain:Domain": Kind(
        title="domain",
        list_all=("list", "--all", "--name"),
        delete=(
            ("destroy", "{name}"),
            ("undefine", "{name}", "--managed-save", "--nvram", "--snapshots-metadata", "--checkpoints-metadata"),
        ),
    ),
    "libvirt:index/cloudInitDisk:CloudInitDisk": _VOLUME,
    "libvirt:index/volume:Volume": _VOLUME,
    "libvirt:index/network:Network": Kind(
        title="network",
        list_all=("net-list", "--all", "--name"),
        delete=(("net-destroy", "{name}"), ("net-undefine", "{name}")),
        list_users=("net-port-list", "{name}"),
    ),
    "libvirt:index/pool:Pool": Kind(
        title="pool",
        list_all=("pool-list", "--all", "--name"),
        # pool-delete removes the folder, which must be empty.
        delete=(("pool-destroy", "{name}"), ("pool-delete", "{name}"), ("pool-undefine", "{name}")),
        list_users=("vol-list", "{name}"),
    ),
}
"""Kinds by the type of their resource. A kind comes before those that it uses, so this is the order of deletion."""
_POOL = "libvirt:index/pool:Pool"


@dataclass(frozen=True)
class LibvirtObject:
    """A libvirt object.

    Attributes:
        type: Type of its resource.
        name: Name in libvirt.
        pool: Pool of a volume, otherwise empty.
        uri: libvirt URI of the daemon that has it.
    """

    type: str
    name: str
    pool: str
    uri: str

    def __str__(self) -> str:
        return f"{KINDS[self.type].title} {self.name}" + (f" in pool {self.pool}" if self.pool else "")

    def delete(self) -> str:
        """Delete the object if it exists, and return the result as a clause.

        Raises:
            HostError: It could not be deleted, or libvirt does not answer.
        """
        if not self._exists():
            return f"{self} did not exist any more"
        kind = KINDS[self.type]
        if users := self._users():
            return f"{self} stays, because it has {', '.join(sorted(users))}"
        deadline = time.monotonic() + _DELETE_TIMEOUT
        while True:
            results = [self._virsh(command) for command in kind.delete]
            if not self._exists():
                return f"{self} was deleted"
            if time.monotonic() > deadline:
                reason = " ".join(result.stderr.strip() for result in results if result.returncode != 0)
                raise HostError(
                    f"An earlier run was killed, and the {self} that it left could not be deleted: {reason}"
                )
            time.sleep(0.2)

    def _exists(self) -> bool:
        if self.pool and not LibvirtObject(_POOL, self.pool, "", self.uri)._exists():
            return False
        return self.name in self._names(KINDS[self.type].list_all)

    def _users(self) -> set[str]:
        command = KINDS[self.type].list_users
        result = self._virsh(command) if command else None
        # An inactive object cannot be queried and has no users.
        return _first_column(result.stdout) if result is not None and result.returncode == 0 else set()

    def _names(self, command: Sequence[str]) -> set[str]:
        result = self._virsh(command)
        if result.returncode != 0:
            raise HostError(
                f"An earlier run was killed, and libvirt cannot be searched for its objects: {result.stderr.strip()}"
            )
        return _first_column(result.stdout)

    def _virsh(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        words = [word.format(name=self.name, pool=self.pool) for word in command]
        return attempt(["virsh", "--connect", self.uri, *words])


def identify(resource: Mapping[str, Any], uris: Mapping[str, str | None]) -> LibvirtObject | None:
    """Return the object of a resource in the state. None if it is not of libvirt or has no name yet.

    Args:
        resource: The resource.
        uris: libvirt URIs of the state's libvirt providers, by the reference that resources have to them.
    """
    inputs = resource.get("inputs", {})
    if resource["type"] not in KINDS or not isinstance(inputs.get("name"), str):
        return None
    pool = inputs.get("pool", "") if KINDS[resource["type"]] is _VOLUME else ""
    uri = uris.get(resource.get("provider", "")) or URI
    return LibvirtObject(resource["type"], inputs["name"], pool, uri)


def provider_uris(resources: Sequence[Mapping[str, Any]]) -> dict[str, str | None]:
    """Return the libvirt URIs of the providers in a state, by the reference that resources have to them."""
    return {f"{each['urn']}::{each.get('id')}": each.get("inputs", {}).get("uri") for each in resources}


def order(subject: LibvirtObject) -> tuple[int, str, str]:
    """Return the sort key for the order in which objects can be deleted."""
    return list(KINDS).index(subject.type), subject.pool, subject.name


def _first_column(table: str) -> set[str]:
    """Return the names in a listing of virsh, with or without a header above a line of dashes."""
    lines = table.splitlines()
    dashes = [number for number, line in enumerate(lines) if line and not line.strip("-")]
    rows = lines[dashes[0] + 1 :] if dashes else lines
    return {row.split()[0] for row in rows if row.strip()}
