"""Official releases: downloaded, compared with the SHA-256 published beside them, and only then used.

A failure that may pass, such as a reset connection, is retried a few times, because the alternative is a build that
takes minutes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import ssl
import tarfile
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

from lab.versions import Release
from system.console import Progress, Unit, progress, say
from system.errors import HardwayError

HOSTS_VARIABLE = "HARDWAY_RELEASE_HOSTS"
"""Environment variable with mirrors of release hosts: `host=base-URL` pairs, separated by spaces. A host without a URL
(`host=`) is never contacted."""
TIMEOUT = 5.0
"""Seconds without an answer or a byte after which an attempt fails."""
RETRY_PAUSES = (1.0, 3.0, 8.0)
"""Seconds before each further attempt after a failure that may pass."""
MAX_RETRIES_WITHOUT_ANSWER = 2
"""A host that never answered is retried less often: probably this machine has no way to it."""
CHUNK_SIZE = 1 << 20
DIGEST = re.compile(r"[0-9a-fA-F]{64}")

_T = TypeVar("_T")


class NotAvailableError(HardwayError):
    """A release cannot be downloaded, or is not what was published. The message says why."""


class WrongChecksumError(NotAvailableError):
    """A file differs from the published checksum: a mirror is damaged, or somebody tampered with the download."""


class _FailedAttemptError(NotAvailableError):
    """One attempt to download a file failed.

    Attributes:
        passing: Another attempt may succeed.
        answered: The host answered before the attempt failed.
        unreachable: Why the host counts as unreachable if no attempt succeeds; "" if it does not.
    """

    def __init__(self, message: str, *, passing: bool, answered: bool, unreachable: str = "") -> None:
        super().__init__(message)
        self.passing = passing
        self.answered = answered
        self.unreachable = unreachable


class ReleaseHosts:
    """The hosts of official releases. One object does not contact a host again that it could not reach."""

    def __init__(
        self,
        mirrors: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        *,
        pauses: Sequence[float] = RETRY_PAUSES,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Prepare downloads; nothing is contacted yet.

        Args:
            mirrors: The base URL to use instead of a host, by host. By default, HARDWAY_RELEASE_HOSTS decides.
            timeout: Seconds without an answer or a byte after which an attempt fails.
            pauses: Seconds before each further attempt after a failure that may pass.
            sleep: Waits for the given number of seconds.
        """
        self._mirrors = _mirrors_from_environment() if mirrors is None else mirrors
        self._timeout = timeout
        self._pauses = pauses
        self._sleep = sleep
        self._unreachable: dict[str, str] = {}
        self._is_offline = False

    def announce(self, title: str, release: Release) -> None:
        """Print that a release is being downloaded, unless its host is known to be unreachable.

        Raises:
            NotAvailableError: The project has no release.
        """
        if not release.archive:
            raise NotAvailableError("the project releases no binaries")
        host = urllib.parse.urlsplit(release.archive).netloc
        if host not in self._unreachable:
            say(f"{title}: downloading the official release from {host}")

    def fetch(self, release: Release, target: Path) -> None:
        """Download the release's file to `target` and check it.

        Raises:
            NotAvailableError: The file or its checksum cannot be downloaded, or they differ. `target` does not exist.
        """
        self.fetch_pinned(release.archive, self.published_sha256(release), target)

    def fetch_pinned(self, url: str, expected: str, target: Path) -> None:
        """Download a file to `target` and check that it has the expected SHA-256.

        Raises:
            NotAvailableError: The file cannot be downloaded or has another digest. `target` does not exist.
        """
        partial = target.with_name(f".{target.name}.partial")
        try:
            digest = self._download(url, partial)
            if digest != expected:
                message = f"{url}: the SHA-256 is {digest}, but {expected} is expected"
                say(f"WARNING: {message}. The file is not used.")
                raise WrongChecksumError(message)
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)

    def fetch_unchecked(self, url: str, target: Path) -> None:
        """Download a file to `target` without checking its content. Raises NotAvailableError."""
        self._download(url, target)

    def published_sha256(self, release: Release) -> str:
        """Return the SHA-256 that is published for a release's file. Raises NotAvailableError."""
        return published_sha256(self._text(release.checksum), release.archive.rsplit("/", 1)[1])

    def fetch_programs(self, release: Release, members: Mapping[str, str], folder: Path, *, expected: str = "") -> None:
        """Put programs of a release into `folder`, executable.

        Args:
            release: The release to download.
            members: The name in the archive of each program, or "" if the release's file is the program itself.
            folder: An existing folder.
            expected: The SHA-256 of the release's file; by default the published one.

        Raises:
            NotAvailableError: The release cannot be downloaded, or its archive lacks one of the programs.
            OSError: This machine cannot store the programs.
        """
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            archive = Path(temporary) / "release"
            self.fetch_pinned(release.archive, expected or self.published_sha256(release), archive)
            for program, member in members.items():
                target = folder / program
                if member:
                    _extract(release, archive, member, target)
                else:
                    shutil.move(archive, target)
                target.chmod(0o755)

    def _download(self, url: str, target: Path) -> str:
        """Write the file at a URL to `target` and return its SHA-256."""

        def attempt() -> str:
            digest = hashlib.sha256()
            title = f"{url.rsplit('/', 1)[1]}: downloading"
            with target.open("wb") as file, progress(title, unit=Unit.BYTES) as task:
                for chunk in self._read(url, task):
                    digest.update(chunk)
                    file.write(chunk)
            return digest.hexdigest()

        return self._retry(url, attempt)

    def _text(self, url: str) -> str:
        return self._retry(url, lambda: b"".join(self._read(url)).decode(errors="replace"))

    def _retry(self, url: str, attempt: Callable[[], _T]) -> _T:
        host = urllib.parse.urlsplit(url).netloc
        if host in self._unreachable:
            raise NotAvailableError(f"{host} is not reachable ({self._unreachable[host]})")
        retries = 0
        while True:
            try:
                return attempt()
            except _FailedAttemptError as failure:
                if failure.passing and retries < self._max_retries(failure):
                    pause = self._pauses[retries]
                    say(f"{failure}; trying again in {pause:g} s")
                    self._sleep(pause)
                    retries += 1
                    continue
                if failure.unreachable:
                    self._unreachable[host] = failure.unreachable
                    self._is_offline = self._is_offline or not failure.answered
                raise

    def _max_retries(self, failure: _FailedAttemptError) -> int:
        if failure.answered:
            return len(self._pauses)
        # After one host stayed silent, do not wait as long for each of the others.
        return 0 if self._is_offline else min(MAX_RETRIES_WITHOUT_ANSWER, len(self._pauses))

    def _read(self, url: str, task: Progress | None = None) -> Iterator[bytes]:
        host = urllib.parse.urlsplit(url).netloc
        answered, received = False, 0
        try:
            with urllib.request.urlopen(self._mirrored(url, host), timeout=self._timeout) as response:
                answered = True
                length = response.headers.get("Content-Length")
                if task is not None and length is not None:
                    task.update(total=int(length))
                while chunk := response.read(CHUNK_SIZE):
                    received += len(chunk)
                    if task is not None:
                        task.update(done=received)
                    yield chunk
        except urllib.error.HTTPError as error:
            message = f"{url}: the host answers {error.code} {error.reason}"
            passing = error.code == HTTPStatus.TOO_MANY_REQUESTS or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            raise _FailedAttemptError(message, passing=passing, answered=True) from None
        except HTTPException as error:
            message = f"{url}: the download broke off ({error!r})"
            raise _FailedAttemptError(message, passing=True, answered=True) from None
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            message = f"{url}: the download broke off ({reason})" if answered else f"{host} is not reachable ({reason})"
            raise _FailedAttemptError(
                message, passing=_may_pass(reason), answered=answered, unreachable=str(reason)
            ) from None
        if length is not None and received < int(length):
            message = f"{url}: the download broke off after {received} of {length} bytes"
            raise _FailedAttemptError(message, passing=True, answered=True)

    def _mirrored(self, url: str, host: str) -> str:
        if host not in self._mirrors:
            return url
        if not self._mirrors[host]:
            raise OSError(f"{HOSTS_VARIABLE} excludes this host")
        return self._mirrors[host].rstrip("/") + urllib.parse.urlsplit(url).path


def published_sha256(text: str, name: str) -> str:
    """Return the SHA-256 of the file `name` in the text of a checksum file.

    Args:
        text: A bare digest, or lines with a digest and a file name each.
        name: The name of the file, without folders.

    Raises:
        NotAvailableError: The text has no digest of this file.
    """
    for line in text.splitlines():
        digest, _, file = line.strip().partition(" ")
        if DIGEST.fullmatch(digest) and file.strip().removeprefix("*").rsplit("/", 1)[-1] in ("", name):
            return digest.lower()
    raise NotAvailableError(f"{name}: the checksum file of the release has no SHA-256 of it")


def _may_pass(reason: object) -> bool:
    """Return True if the next attempt to connect may succeed."""
    if isinstance(reason, socket.gaierror):
        return reason.errno == socket.EAI_AGAIN
    return isinstance(reason, TimeoutError | ConnectionResetError | BrokenPipeError | ssl.SSLEOFError)


def _extract(release: Release, archive: Path, member: str, target: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            names = {name.removeprefix("./"): name for name in tar.getnames()}
            file = tar.extractfile(names[member]) if member in names else None
            if file is None:
                raise NotAvailableError(f"{release.archive}: the archive has no file {member}")
            with file, target.open("wb") as out:
                shutil.copyfileobj(file, out, CHUNK_SIZE)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # Only faults of this machine have a number. A full disk says nothing about the archive.
        raise NotAvailableError(f"{release.archive}: the archive cannot be read ({error})") from None


def _mirrors_from_environment() -> dict[str, str]:
    pairs = (pair.partition("=") for pair in os.environ.get(HOSTS_VARIABLE, "").split())
    return {host: url for host, _, url in pairs}
