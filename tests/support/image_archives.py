"""Archives of container images, as other programs write them."""

import io
import json
import tarfile
from typing import Any


def docker_archive(*tags: str, compression: str = "") -> bytes:
    """Return an archive as `docker save` writes it, without its layers."""
    documents: dict[str, Any] = {"manifest.json": [{"Config": "c.json", "RepoTags": list(tags), "Layers": []}]}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        for name, document in documents.items():
            info = tarfile.TarInfo(name)
            content = json.dumps(document).encode()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
