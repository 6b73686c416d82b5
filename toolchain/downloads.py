"""Files that the configuration names by URL, with a pinned content."""

from __future__ import annotations

from pathlib import Path

from system import netns
from system.console import say
from system.errors import ToolchainError
from toolchain.cache import Cache, key
from toolchain.release import NotAvailableError, ReleaseHosts

PIN = "#sha256="
"""The text between a URL and the SHA-256 of its content."""


def ensure_download(location: str, cache: Cache | None = None, hosts: ReleaseHosts | None = None) -> Path:
    """Return the file of a URL, and download it if it is not in the cache.

    Args:
        location: The URL with `#sha256=…` at its end.
        cache: By default the user's cache.
        hosts: Download the file.

    Raises:
        ToolchainError: The file cannot be downloaded, or its SHA-256 differs.
    """
    cache = cache or Cache()
    url, _, digest = location.partition(PIN)
    file_key = key("download", sha256=digest)
    entry = cache.find(file_key)
    if entry is None and netns.is_inside():
        netns.run_toolchain("download", location)

    def download(folder: Path) -> None:
        say(f"downloading {url}")
        try:
            (hosts or ReleaseHosts()).fetch_pinned(url, digest, folder / "file")
        except NotAvailableError as reason:
            raise ToolchainError(str(reason)) from None

    return cache.make(file_key, download).path("file")
