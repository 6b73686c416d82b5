"""Files of this machine: the checkout, atomic writes, and locks."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from system import console

CHECKOUT = Path(__file__).resolve().parents[1]
"""The checkout that this code runs from."""


def write_atomically(
    path: Path, content: str | bytes, mode: int | None = None, *, draft_folder: Path | None = None
) -> None:
    """Write a file so that readers see the old content or the new content, never a part of it.

    A symbolic link at `path` is replaced by the file.

    Args:
        path: The file. Its folder must exist.
        content: The whole content. Text is written as UTF-8.
        mode: Permission bits. None keeps those of an existing file and gives a new file the usual ones (umask).
        draft_folder: Folder for the draft, on the same file system. Default: the folder of `path`.
    """
    draft = _write_draft(path, content, mode, draft_folder or path.parent)
    try:
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def create_once(path: Path, content: str | bytes, mode: int | None = None) -> bool:
    """Create a file with its whole content, unless it exists.

    Of several runs at once, exactly one creates the file. The others keep it as it is.

    Returns:
        True if this call created the file.
    """
    if path.exists():
        return False
    draft = _write_draft(path, content, mode, path.parent)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


@contextlib.contextmanager
def temporary_file(content: str) -> Iterator[str]:
    """Yield the path of a file that only this user can read, until the block ends."""
    with tempfile.NamedTemporaryFile("w", prefix="hardway-") as file:
        file.write(content)
        file.flush()
        yield file.name


@contextlib.contextmanager
def locked(path: Path, waiting_message: str | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file while the block runs. The kernel releases it when the process ends.

    Args:
        path: The lock file, created if it does not exist. Its folder must exist.
        waiting_message: Printed once if another process holds the lock.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting_message is not None:
                console.say(waiting_message)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _write_draft(path: Path, content: str | bytes, mode: int | None, folder: Path) -> Path:
    if mode is None:
        mode = _usual_mode(path)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=folder)
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            os.fchmod(file.fileno(), mode)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft


def _usual_mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0o022)
        os.umask(umask)
        return 0o666 & ~umask
