"""Official releases: fetched, checked against the SHA-256 published with them, and only then used."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path

from lab.versions import Release
from system.console import say

HOSTS_VARIABLE = "HARDWAY_RELEASE_HOSTS"
"""Environment variable with mirrors of release hosts: `host=base-URL` pairs between spaces. A `host=` without a URL
is never asked."""
TIMEOUT = 5.0
"""Seconds without an answer or a byte after which a host counts as not reachable."""
CHUNK = 1 << 20
DIGEST = re.compile(r"[0-9a-fA-F]{64}")


class NotAvailableError(Exception):
    """A release can't be had or isn't what was published. The message says why; building from source is what's left."""


class WrongChecksumError(NotAvailableError):
    """What was fetched isn't what its publisher signed off: a damaged mirror, or somebody in between."""


class ReleaseHosts:
    """The hosts of official releases. One that can't be reached isn't tried again by the same object."""

    def __init__(self, mirrors: Mapping[str, str] | None = None, timeout: float = TIMEOUT) -> None:
        """mirrors: base URL by host, to be asked instead of it; by default what HARDWAY_RELEASE_HOSTS says."""
        self._mirrors = _mirrors_from_environment() if mirrors is None else mirrors
        self._timeout = timeout
        self._unreachable: dict[str, str] = {}

    def announce(self, title: str, release: Release) -> None:
        """Says that a release is being fetched, unless its host is known not to be reachable."""
        host = urllib.parse.urlsplit(release.archive).netloc
        if host not in self._unreachable:
            say(f"{title}: fetching the official release from {host}")

    def fetch(self, release: Release, target: Path) -> None:
        """Puts the release's file at `target`, checked. Raises NotAvailableError and leaves nothing there otherwise."""
        name = release.archive.rsplit("/", 1)[1]
        self.fetch_pinned(release.archive, published_sha256(self._text(release.checksum), name), target)

    def fetch_pinned(self, url: str, expected: str, target: Path) -> None:
        """Puts the file at `target` if its SHA-256 is the expected one.

        Raises NotAvailableError and leaves nothing there otherwise."""
        partial = target.with_name(f".{target.name}.partial")
        try:
            digest = self._download(url, partial)
            if digest != expected:
                message = f"{url}: its SHA-256 is {digest}, but {expected} is expected"
                say(f"WARNING: {message}. It is not used.")
                raise WrongChecksumError(message)
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)

    def fetch_unchecked(self, url: str, target: Path) -> None:
        """Puts the file at `target` as it comes. Raises NotAvailableError."""
        self._download(url, target)

    def fetch_programs(self, release: Release, members: Mapping[str, str], folder: Path) -> None:
        """Puts programs of a release into `folder`, executable.

        members: the program's name → its name in the archive, or "" where the release's file is the program itself.
        Raises NotAvailableError, also where the archive lacks one of them, and OSError where they can't be stored.
        """
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = Path(temporary) / "release"
            self.fetch(release, archive)
            for program, member in members.items():
                target = folder / program
                if member:
                    _extract(release, archive, member, target)
                else:
                    shutil.move(archive, target)
                target.chmod(0o755)

    def _download(self, url: str, target: Path) -> str:
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self._read(url):
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _text(self, url: str) -> str:
        return b"".join(self._read(url)).decode(errors="replace")

    def _read(self, url: str) -> Iterator[bytes]:
        host = urllib.parse.urlsplit(url).netloc
        if host in self._unreachable:
            raise NotAvailableError(f"{host} is not reachable ({self._unreachable[host]})")
        try:
            with urllib.request.urlopen(self._mirrored(url, host), timeout=self._timeout) as response:
                length, received = response.headers.get("Content-Length"), 0
                while chunk := response.read(CHUNK):
                    received += len(chunk)
                    yield chunk
        except urllib.error.HTTPError as error:
            raise NotAvailableError(f"{url}: the host answers {error.code} {error.reason}") from None
        except HTTPException as error:
            raise NotAvailableError(f"{url}: broken off ({error!r})") from None
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            self._unreachable[host] = str(reason)
            raise NotAvailableError(f"{host} is not reachable ({reason})") from None
        if length is not None and received < int(length):
            raise NotAvailableError(f"{url}: broken off after {received} of {length} bytes")

    def _mirrored(self, url: str, host: str) -> str:
        if host not in self._mirrors:
            return url
        if not self._mirrors[host]:
            raise OSError(f"{HOSTS_VARIABLE} says not to ask it")
        return self._mirrors[host].rstrip("/") + urllib.parse.urlsplit(url).path


def published_sha256(text: str, name: str) -> str:
    """The SHA-256 of the file `name` in a checksum file: a bare digest, or lines of digest and file name.

    Raises NotAvailableError where it has none.
    """
    for line in text.splitlines():
        digest, _, file = line.strip().partition(" ")
        if DIGEST.fullmatch(digest) and file.strip().removeprefix("*").rsplit("/", 1)[-1] in ("", name):
            return digest.lower()
    raise NotAvailableError(f"{name}: no SHA-256 of it is published where one is expected")


def _extract(release: Release, archive: Path, member: str, target: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            names = {name.removeprefix("./"): name for name in tar.getnames()}
            file = tar.extractfile(names[member]) if member in names else None
            if file is None:
                raise NotAvailableError(f"{release.archive}: there is no file {member} in it")
            with file, target.open("wb") as out:
                shutil.copyfileobj(file, out, CHUNK)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # only this machine's own faults have a number: a full disk says nothing of the archive
        raise NotAvailableError(f"{release.archive}: not an archive that can be read ({error})") from None


def _mirrors_from_environment() -> dict[str, str]:
    pairs = (pair.partition("=") for pair in os.environ.get(HOSTS_VARIABLE, "").split())
    return {host: url for host, _, url in pairs}
