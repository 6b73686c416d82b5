"""The cache of everything that is fetched or built. It is outside the checkout, so all checkouts share it.

An entry is a folder `entries/<name>-<key>` with its files and a manifest of their digests. The key is a digest over
everything that the entry is made from. A new entry is made in a temporary folder beside its final place and then
renamed, under a lock per key. So an interrupted run never leaves an incomplete entry under its final name, and when two
runs need the same entry, one makes it and the other waits and uses it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from system.console import say
from system.errors import ToolchainError
from system.files import locked, write_atomically

MANIFEST = "manifest.json"
DAY = 24 * 3600.0
UNUSED_AFTER = 30 * DAY
"""Seconds without use after which `Cache.prune` removes an entry."""


@dataclass(frozen=True)
class Key:
    """The name of an entry, and the digest over everything that the entry is made from."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}-{self.digest[:24]}"


def key(name: str, **made_from: Any) -> Key:
    """Return the key of an entry.

    Args:
        name: The program or image that the entry holds, for messages.
        made_from: Everything that decides the entry's content, as values that JSON can represent.
    """
    text = json.dumps(made_from, sort_keys=True, ensure_ascii=False)
    return Key(name, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class Record:
    """One file in the manifest: its SHA-256, and size and modification time as a cheap way to notice a change."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Entry:
    """A complete and checked entry.

    Attributes:
        folder: The folder that holds the files.
        files: The record of each file, by its path within the folder.
        note: A remark of the code that made the entry, such as the version of the compiler.
    """

    folder: Path
    files: Mapping[str, Record]
    note: str

    def path(self, name: str) -> Path:
        """Return the path of a file. Raises KeyError if the entry has no such file."""
        self.files[name]
        return self.folder / name


@dataclass(frozen=True)
class PrunedEntry:
    """An entry that `Cache.prune` removed: the name of its folder, and the bytes that it occupied on the disk."""

    name: str
    size: int


class Cache:
    """A cache in one folder."""

    def __init__(self, folder: Path | None = None, *, verify: bool = False) -> None:
        """Open a cache.

        Args:
            folder: The cache's folder, by default `default_folder()`.
            verify: Compare the digests of all files that are used, instead of size and modification time.
        """
        self._folder = folder or default_folder()
        self._entries, self._locks = self._folder / "entries", self._folder / "locks"
        self._verify = verify
        self._verified: set[Path] = set()

    def find(self, key: Key) -> Entry | None:
        """Return the entry, or None if it is missing or damaged. `make` replaces a damaged entry."""
        folder = self._entries / str(key)
        entry = _read(folder)
        if entry is None:
            if folder.exists():
                say(f"{key.name}: the manifest in the cache is damaged")
            return None
        changed = [name for name, record in entry.files.items() if not _looks_unchanged(folder / name, record)]
        if self._verify and folder not in self._verified:
            changed = list(entry.files)
        damaged = [name for name in changed if not _is_intact(folder / name, entry.files[name])]
        if damaged:
            say(f"{key.name}: damaged in the cache: {', '.join(damaged)}")
            return None
        if changed:
            # Somebody copied or touched the files, but the content is the same. Record the new times, so that the next
            # run need not compute the digests again.
            records = {name: _record(folder / name, record.sha256) for name, record in entry.files.items()}
            entry = replace(entry, files=records)
            with contextlib.suppress(OSError):
                _write(entry)
        self._verified.add(folder)
        _mark_used(folder)
        return entry

    def make(self, key: Key, make: Callable[[Path], str | None]) -> Entry:
        """Return the entry, and make it first if it is missing or damaged.

        Args:
            key: The entry's key.
            make: Fills the folder that it receives, and may return a note about how it did so. If it raises, nothing
                remains in the cache.

        Raises:
            ToolchainError: This machine cannot store the entry.
        """
        entry = self.find(key)
        if entry is not None:
            return entry
        with self._explain_storage_errors(key), self._lock(key):
            entry = self.find(key)
            if entry is not None:
                return entry
            folder = self._entries / str(key)
            self._entries.mkdir(parents=True, exist_ok=True)
            # Only the holder of the lock makes this entry, so these are leftovers of killed runs.
            for leftover in self._entries.glob(f".{key}.*"):
                shutil.rmtree(leftover, ignore_errors=True)
            new = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=self._entries))
            try:
                note = make(new)
                new.chmod(0o755)
                _write(Entry(new, _records(new), note or ""))
                self._remove(folder)
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        entry = _read(folder)
        assert entry is not None
        return entry

    def require_intact(self, files: Iterable[Path]) -> None:
        """Compare the digests of all files in the entries that the given files belong to.

        Call this before files are copied to a place where damage would stay. Damaged entries are removed, so the next
        run makes them again.

        Raises:
            ToolchainError: Some entries are damaged. The message names them.
        """
        verifying, damaged = Cache(self._folder, verify=True), []
        for name in sorted({path.relative_to(self._entries).parts[0] for path in files}):
            key = Key(*name.rsplit("-", 1))
            with self._explain_storage_errors(key), self._lock(key):
                if verifying.find(key) is None:
                    self._remove(self._entries / name)
                    damaged.append(key.name)
        if damaged:
            raise ToolchainError(
                f"Files were damaged in the cache, and are now removed from it: {', '.join(damaged)}. "
                "Run `make up` or `pulumi up` again to create them."
            )

    def prune(self, unused_after: float = UNUSED_AFTER) -> list[PrunedEntry]:
        """Remove old entries and the leftovers of interrupted runs, and return what was removed.

        Args:
            unused_after: Seconds without use after which an entry is old.
        """
        if not self._entries.exists():
            return []
        old = [folder for folder in sorted(self._entries.iterdir()) if _age(folder) > unused_after]
        pruned = [PrunedEntry(folder.name, _disk_usage(folder)) for folder in old]
        for folder in old:
            self._remove(folder)
        return pruned

    def _remove(self, folder: Path) -> None:
        if folder.exists():
            # Rename first, so that another process sees either the complete entry or none.
            trash = Path(tempfile.mkdtemp(prefix=".dropped.", dir=self._entries))
            folder.rename(trash / folder.name)
            shutil.rmtree(trash, ignore_errors=True)

    @contextlib.contextmanager
    def _explain_storage_errors(self, key: Key) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where, reason = error.filename or self._entries, error.strerror or error
            raise ToolchainError(
                f"{key.name} cannot be stored: {where}: {reason}. Free space or fix this, then run the command again."
            ) from None

    @contextlib.contextmanager
    def _lock(self, key: Key) -> Iterator[None]:
        self._locks.mkdir(parents=True, exist_ok=True)
        with locked(self._locks / str(key), f"{key.name}: another run is making it; waiting"):
            yield


def default_folder() -> Path:
    """Return `hardway` in the user's cache folder, as the XDG base directory specification defines it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hardway"


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(folder: Path, include: Callable[[Path], bool] | None = None) -> str:
    """Return a digest over the names, contents and execute bits of the files in a folder.

    Args:
        folder: Searched recursively.
        include: Selects the files that count; by default all do.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (include is None or include(path)):
            executable = bool(path.stat().st_mode & 0o100)
            digest.update(f"{path.relative_to(folder)} {executable} {sha256(path)}\n".encode())
    return digest.hexdigest()


def _read(folder: Path) -> Entry | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files = {name: Record(**record) for name, record in manifest["files"].items()}
        return Entry(folder, files, manifest["note"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(entry: Entry) -> None:
    manifest = {"note": entry.note, "files": {name: asdict(record) for name, record in entry.files.items()}}
    write_atomically(entry.folder / MANIFEST, json.dumps(manifest, indent=1))


def _records(folder: Path) -> dict[str, Record]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): _record(path, sha256(path)) for path in files}


def _record(path: Path, digest: str) -> Record:
    status = path.stat()
    return Record(digest, status.st_size, status.st_mtime_ns)


def _mark_used(folder: Path) -> None:
    if _age(folder) > DAY:
        with contextlib.suppress(OSError):
            os.utime(folder)


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _disk_usage(folder: Path) -> int:
    """Return the bytes that the files in a folder occupy. Disk images are sparse, so this is not the sum of sizes."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def _looks_unchanged(path: Path, record: Record) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns)


def _is_intact(path: Path, record: Record) -> bool:
    try:
        return path.stat().st_size == record.size and sha256(path) == record.sha256
    except OSError:
        return False
