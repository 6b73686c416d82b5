"""What travels to a node with a command, read back."""

import base64
import io
import tarfile


def files(payload: str) -> dict[str, str]:
    """Path to content of the files in a base64 gzipped tar; links are shown by their target."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(payload))) as tar:
        return {member.name: _text(tar, member) for member in tar if not member.isdir()}


def _text(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if not member.isreg():
        return member.linkname
    content = tar.extractfile(member)
    assert content
    return content.read().decode()
