"""A mirror of the release host of Kubernetes, which serves programs from the cache under the paths of their release."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

from lab.versions import node_sources
from tests.support.http_server import serving_http
from toolchain import binaries
from toolchain.release import HOSTS_VARIABLE


def publish(version: str, folder: Path) -> dict[str, str]:
    """Write the programs of a listed version of Kubernetes into a folder, and return the SHA-256 of each by its URL.

    Programs that the cache does not have are downloaded or built first.
    """
    source = node_sources()["kubernetes"]
    published = {}
    for (program, _), binary in binaries.ensure((name, version) for name in source.programs).items():
        release = source.release.at(version, program)
        archive, checksum = (folder / urlsplit(url).path.lstrip("/") for url in (release.archive, release.checksum))
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.symlink_to(binary.path)
        checksum.write_text(binary.sha256)
        published[release.archive] = binary.sha256
    return published


@contextmanager
def mirrored(folder: Path) -> Iterator[None]:
    """Serve a folder of `publish`, and let the commands of this process download releases of Kubernetes from it."""

    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            return str(folder / urlsplit(path).path.lstrip("/"))

        def log_message(self, *_: object) -> None:
            pass

    host = urlsplit(node_sources()["kubernetes"].release.archive).netloc
    before = os.environ.get(HOSTS_VARIABLE)
    with serving_http(Handler) as url:
        os.environ[HOSTS_VARIABLE] = f"{before or ''} {host}={url}"
        try:
            yield
        finally:
            del os.environ[HOSTS_VARIABLE]
            if before is not None:
                os.environ[HOSTS_VARIABLE] = before
