"""A server with the layout of the official release hosts, which can publish what is wrong in the ways that happen."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.versions import Release


class ReleaseHost:
    """Serves files under `/<host>/<path>` on loopback; `mirrors` makes the toolchain ask it instead of the hosts.

    asked: the paths that were asked for, in their order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.truncated: set[str] = set()
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def mirrors(self, *hosts: str) -> dict[str, str]:
        """For each host the URL here that is asked instead."""
        return {host: f"http://127.0.0.1:{self._server.server_port}/{host}" for host in hosts}

    def publish(self, release: Release, content: bytes, checksum: str | None = None) -> None:
        """Publishes a release and its checksum file, whose text is that of `sha256sum` unless `checksum` says it."""
        name = release.archive.rsplit("/", 1)[1]
        self.files[_path(release.archive)] = content
        text = checksum if checksum is not None else f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        self.files[_path(release.checksum)] = text.encode()

    def truncate(self, url: str) -> None:
        """Breaks off the file's transfer halfway from now on."""
        self.truncated.add(_path(url))

    def withdraw(self, url: str) -> None:
        """Answers 404 for it from now on."""
        del self.files[_path(url)]

    def was_asked(self, url: str) -> int:
        """How often it was asked for."""
        return self.asked.count(_path(url))

    def stop(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                content = host.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if self.path in host.truncated else content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def tarball(files: Mapping[str, bytes]) -> bytes:
    """A gzipped tar file, as releases are packed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _path(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"/{parts.netloc}{parts.path}"
