"""Snapshots of etcd on this machine.

The cache keeps a copy of each one that a lab restores, because a file may change between the program's run and the copy
to a node.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from system.errors import ToolchainError
from system.files import CHECKOUT
from toolchain.cache import Cache, key, sha256

FILE = "snapshot.db"


@dataclass(frozen=True, kw_only=True)
class SnapshotFile:
    """A snapshot in the cache.

    Attributes:
        path: The file.
        sha256: Its SHA-256.
    """

    path: Path
    sha256: str


def ensure(location: str, cache: Cache | None = None) -> SnapshotFile:
    """Return the copy of a snapshot in the cache.

    Args:
        location: The path, relative to the project's folder.
        cache: By default the user's cache.

    Raises:
        ToolchainError: The file does not exist, cannot be read, or is no complete snapshot.
    """
    path = CHECKOUT / Path(location).expanduser()
    try:
        with path.open("rb") as file:
            complete = is_complete(file)
        digest = sha256(path)
    except OSError as error:
        raise ToolchainError(
            f"etcd.restoreFrom: {path} cannot be read: {error.strerror}. Name a snapshot of `hardway etcd snapshot`, "
            "or remove the key: it has no effect on an etcd that has data."
        ) from None
    if not complete:
        raise ToolchainError(
            f"etcd.restoreFrom: {path} is no complete snapshot of etcd: it does not end with the SHA-256 of its "
            "content. Use a file of `hardway etcd snapshot` or of `etcdctl snapshot save`."
        )

    def make(folder: Path) -> None:
        shutil.copyfile(path, folder / FILE)
        (folder / FILE).chmod(0o600)

    entry_key = key("etcd-snapshot", sha256=digest)
    cache = cache or Cache()
    entry = cache.find(entry_key) or cache.make(entry_key, make)
    return SnapshotFile(path=entry.path(FILE), sha256=entry.files[FILE].sha256)


class IncompleteError(ToolchainError):
    """A snapshot did not arrive completely."""


@contextmanager
def receiving(file: Path) -> Iterator[IO[bytes]]:
    """Provide a draft to write a snapshot to, and put it in place if the block ends with a complete snapshot.

    Only this user can read it. An earlier file stays if the block fails.

    Args:
        file: The place of the snapshot. Its folder is created if it does not exist.

    Raises:
        IncompleteError: The snapshot is not complete.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as content:
            yield content
            if not is_complete(content):
                raise IncompleteError("the snapshot is incomplete")
            os.fsync(content.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def is_complete(file: IO[bytes]) -> bool:
    """Return True if a snapshot ends with the SHA-256 of everything before it."""
    size = file.seek(0, os.SEEK_END) - hashlib.sha256().digest_size
    if size <= 0:
        return False
    file.seek(0)
    digest = hashlib.sha256()
    while size and (block := file.read(min(size, 2**20))):
        digest.update(block)
        size -= len(block)
    return file.read() == digest.digest()
