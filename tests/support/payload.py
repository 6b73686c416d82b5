"""Reads the archives that travel to a node."""

import base64
import io
import tarfile


def files(payload: str) -> dict[str, str]:
    """Return path to content of the files in a base64 gzipped tar. The content of a link is its target."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(payload))) as tar:
        return {member.name: _text(tar, member) for member in tar if not member.isdir()}


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if not member.isreg():
        return member.linkname
    content = tar.extractfile(member)
    assert content
    return content.read().decode()
