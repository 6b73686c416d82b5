"""The one cache of everything fetched or built, outside the checkout, keyed by what an entry is made from.

An entry is a folder `entries/<name>-<key>` with its files and a manifest of their digests. It is made in a temporary
folder beside and renamed, under a lock of its own, so that an interrupted run leaves nothing half-made under an
entry's name, and of two runs at once one makes it and the other waits and uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
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

MANIFEST = "manifest.json"
DAY = 24 * 3600.0
UNUSED_AFTER = 30 * DAY
"""Seconds after which an entry that nobody used is dropped by `Cache.prune`."""


@dataclass(frozen=True)
class Key:
    """What an entry is called and the digest over everything that it is made from."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}-{self.digest[:24]}"


def key(name: str, **made_from: Any) -> Key:
    """The key of an entry. `made_from` is everything that decides its content, as JSON can say it."""
    text = json.dumps(made_from, sort_keys=True, ensure_ascii=False)
    return Key(name, hashlib.sha256(text.encode()).hexdigest())


@dataclass(frozen=True)
class Record:
    """What the manifest says of one file: its SHA-256, and size and time of modification as a cheap sign of change."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Entry:
    """A whole and checked entry. files: path within the folder → record. note: what its maker said of it."""

    folder: Path
    files: Mapping[str, Record]
    note: str

    def path(self, name: str) -> Path:
        """Where the file is. Raises KeyError where the entry has no such file."""
        self.files[name]
        return self.folder / name


class Cache:
    """The cache in a folder; by default `hardway` in XDG's cache folder."""

    def __init__(self, folder: Path | None = None, *, verify: bool = False) -> None:
        """verify: compare digests of all that is used, instead of size and time of modification."""
        self._folder = folder or default_folder()
        self._entries, self._locks = self._folder / "entries", self._folder / "locks"
        self._verify = verify
        self._verified: set[Path] = set()

    def find(self, key: Key) -> Entry | None:
        """The entry if it is there and whole. One that is damaged counts as absent, and `make` replaces it."""
        folder = self._entries / str(key)
        entry = _read(folder)
        if entry is None:
            if folder.exists():
                say(f"{key.name}: its manifest in the cache is damaged")
            return None
        changed = [name for name, record in entry.files.items() if not _looks_unchanged(folder / name, record)]
        if self._verify and folder not in self._verified:
            changed = list(entry.files)
        damaged = [name for name in changed if not _is_whole(folder / name, entry.files[name])]
        if damaged:
            say(f"{key.name}: damaged in the cache: {', '.join(damaged)}")
            return None
        if changed:
            # Copied or touched, and still the same: noted, so that the digest needn't be taken each time.
            entry = replace(entry, files={name: _seen(folder / name, record) for name, record in entry.files.items()})
            with contextlib.suppress(OSError):
                _write(entry)
        self._verified.add(folder)
        _mark_used(folder)
        return entry

    def make(self, key: Key, make: Callable[[Path], str | None]) -> Entry:
        """The entry; made first where it is not there, or damaged.

        make: fills the folder it is given and may return a note on how it did so. Where it raises, nothing stays.

        Raises ToolchainError where this machine can't store it.
        """
        entry = self.find(key)
        if entry is not None:
            return entry
        with self._faults_told(key), self._lock(key):
            entry = self.find(key)
            if entry is not None:
                return entry
            folder = self._entries / str(key)
            self._entries.mkdir(parents=True, exist_ok=True)
            for left in self._entries.glob(f".{key}.*"):  # by a run that was killed: nobody else makes it now
                shutil.rmtree(left, ignore_errors=True)
            new = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=self._entries))
            try:
                note = make(new)
                new.chmod(0o755)
                _write(Entry(new, _records(new), note or ""))
                self._drop(folder)
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        entry = _read(folder)
        assert entry is not None
        return entry

    def expect_whole(self, files: Iterable[Path]) -> None:
        """Reads the entries that files are of in full: for what is about to be used where damage would stay.

        Raises ToolchainError that names those that are damaged. They are dropped, so that the next run makes them anew.
        """
        verifying, damaged = Cache(self._folder, verify=True), []
        for name in sorted({path.relative_to(self._entries).parts[0] for path in files}):
            key = Key(*name.rsplit("-", 1))
            with self._faults_told(key), self._lock(key):
                if verifying.find(key) is None:
                    self._drop(self._entries / name)
                    damaged.append(key.name)
        if damaged:
            raise ToolchainError(
                f"damaged in the cache, and now dropped from it: {', '.join(damaged)}. "
                "Run `make up` or `pulumi up` again, which has it made anew."
            )

    def prune(self, unused_after: float = UNUSED_AFTER) -> list[str]:
        """Drops entries last used longer ago than that many seconds, and what interrupted runs left behind.

        Returns their names.
        """
        if not self._entries.exists():
            return []
        old = [folder for folder in sorted(self._entries.iterdir()) if _age(folder) > unused_after]
        for folder in old:
            self._drop(folder)
        return [folder.name for folder in old]

    def _drop(self, folder: Path) -> None:
        if folder.exists():
            # Renamed first: whoever looks meanwhile finds all of the entry or nothing.
            doomed = Path(tempfile.mkdtemp(prefix=".dropped.", dir=self._entries))
            folder.rename(doomed / folder.name)
            shutil.rmtree(doomed, ignore_errors=True)

    @contextlib.contextmanager
    def _faults_told(self, key: Key) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where, reason = error.filename or self._entries, error.strerror or error
            raise ToolchainError(
                f"{key.name} can't be stored: {where}: {reason}. Make room or mend that, then run the same again."
            ) from None

    @contextlib.contextmanager
    def _lock(self, key: Key) -> Iterator[None]:
        self._locks.mkdir(parents=True, exist_ok=True)
        with (self._locks / str(key)).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"{key.name}: being made by another run, waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def default_folder() -> Path:
    """`hardway` in the folder that XDG's base directory specification gives to caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hardway"


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_sha256(folder: Path, counts: Callable[[Path], bool] | None = None) -> str:
    """A digest over the names, contents and execute bits of the files in a folder; of those that count, if so asked."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and (counts is None or counts(path)):
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
    new = entry.folder / f"{MANIFEST}.{os.getpid()}"
    new.write_text(json.dumps(manifest, indent=1))
    new.rename(entry.folder / MANIFEST)


def _records(folder: Path) -> dict[str, Record]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return {str(path.relative_to(folder)): _seen(path, Record(sha256(path), 0, 0)) for path in files}


def _seen(path: Path, record: Record) -> Record:
    status = path.stat()
    return Record(record.sha256, status.st_size, status.st_mtime_ns)


def _mark_used(folder: Path) -> None:
    if _age(folder) > DAY:
        with contextlib.suppress(OSError):
            os.utime(folder)


def _age(folder: Path) -> float:
    try:
        return time.time() - folder.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _looks_unchanged(path: Path, record: Record) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (record.size, record.mtime_ns)


def _is_whole(path: Path, record: Record) -> bool:
    try:
        return path.stat().st_size == record.size and sha256(path) == record.sha256
    except OSError:
        return False
