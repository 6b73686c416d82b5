"""Files that the configuration names: files of the project, and downloads with a pinned content."""

from __future__ import annotations

import re
from pathlib import Path

from host.workspace import Workspace
from system.errors import HardwayError
from system.files import CHECKOUT
from toolchain.downloads import ensure_download

MAX_SIZE = 4 * 1024 * 1024
"""The maximum size of a file in bytes. The state of the stack has the text of every file."""

PINNED_URL = re.compile(r"https?://[^#\s]+#sha256=[0-9a-f]{64}")


def read_project_file(path: str, checkout: Path = CHECKOUT) -> str:
    """Return the text of a file in the project's folder, or of a download.

    Args:
        path: The path, relative to the project's folder; or a URL with `#sha256=…` at its end.
        checkout: The project's folder.

    Raises:
        ValueError: The file cannot be used. The message says why.
    """
    file = _download(path) if "://" in path else _own_file(path, checkout)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if len(content) > MAX_SIZE:
        raise ValueError(f"must be at most {MAX_SIZE // 1024} KiB; this file has {len(content)} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ValueError("must be text in UTF-8") from None


def _own_file(path: str, checkout: Path) -> Path:
    file = (checkout / path).resolve()
    if Path(path).is_absolute() or not file.is_relative_to(checkout.resolve()):
        raise ValueError("must be a path relative to the folder of Pulumi.yaml, and inside that folder")
    if file.is_relative_to(Workspace(checkout).lab.resolve()):
        raise ValueError("must not be in .lab, which holds the lab's own files and keys")
    return file


def _download(location: str) -> Path:
    if not PINNED_URL.fullmatch(location):
        raise ValueError(
            "must be a URL that begins with https:// or http:// and ends with #sha256= and the SHA-256 of its content, "
            "as `sha256sum` prints it"
        )
    try:
        return ensure_download(location)
    except HardwayError as error:
        raise ValueError(f"cannot be downloaded: {error}") from None
