"""Files in one text, as they travel to a node by standard input."""

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A file in an archive. owner: `user:group`."""

    content: bytes
    mode: int = 0o600
    owner: str = "root:root"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link in an archive."""

    target: str


def archive(entries: Mapping[str, Packed | Link]) -> str:
    """A base64 gzipped tar of the entries by their paths, the same for the same entries whenever it is made.

    Most of a tar of small files is padding, and the engine keeps, compares, encrypts and logs all that it is given.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path, packed in sorted(entries.items()):
            entry = tarfile.TarInfo(path)
            if isinstance(packed, Link):
                entry.type, entry.linkname = tarfile.SYMTYPE, packed.target
                tar.addfile(entry)
            else:
                entry.size, entry.mode = len(packed.content), packed.mode
                entry.uname, _, entry.gname = packed.owner.partition(":")
                tar.addfile(entry, io.BytesIO(packed.content))
    return base64.b64encode(_gzip(buffer.getvalue())).decode()


def _gzip(content: bytes) -> bytes:
    """The content compressed; gzip.compress would give each Python version a header of its own."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(content)
    return buffer.getvalue()
