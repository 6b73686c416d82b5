"""Archives of files that travel to a node as text on standard input."""

import base64
import gzip
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A file in an archive.

    Attributes:
        content: Content of the file.
        mode: Permission bits.
        owner: `user:group`.
    """

    content: bytes
    mode: int = 0o600
    owner: str = "root:root"


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link in an archive.

    Attributes:
        target: Path that the link points to.
    """

    target: str


def archive(entries: Mapping[str, Packed | Link]) -> str:
    """Return a base64 gzipped tar of entries by path. Equal entries give equal archives at any time.

    The engine keeps, compares, encrypts and logs every input. Compression helps because most of a tar of small files
    is padding.
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
    """Return the content compressed. `gzip.compress` writes a header that depends on Python's version."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(content)
    return buffer.getvalue()
