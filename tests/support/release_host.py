"""A server with the layout of the official release hosts. It can publish wrong files and fail in realistic ways."""

from __future__ import annotations

import hashlib
import io
import socket
import struct
import tarfile
import threading
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab.versions import Release


class Fault(Enum):
    """A way in which the transfer of a file fails."""

    TRUNCATED = "The transfer ends halfway."
    RESET = "The connection is reset before an answer."
    RESET_HALFWAY = "The connection is reset in the middle of the file."


@dataclass
class _Failure:
    fault: Fault | HTTPStatus
    remaining: float


class ReleaseHost:
    """Serves files under `/<host>/<path>` on loopback. `mirrors` makes the toolchain use it instead of the real hosts.

    Attributes:
        files: The content of each path.
        requests: The requested paths, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._failures: dict[str, _Failure] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def mirrors(self, *hosts: str) -> dict[str, str]:
        """Return the URL on this server for each of the given hosts."""
        return {host: f"http://127.0.0.1:{self._server.server_port}/{host}" for host in hosts}

    def publish(self, release: Release, content: bytes, checksum: str | None = None) -> None:
        """Publish a release and its checksum file. The default text of the checksum file is that of `sha256sum`."""
        name = release.archive.rsplit("/", 1)[1]
        self.files[_path(release.archive)] = content
        text = checksum if checksum is not None else f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        self.files[_path(release.checksum)] = text.encode()

    def fail(self, url: str, fault: Fault | HTTPStatus, times: float = float("inf")) -> None:
        """Let the next transfers of a file fail; by default all."""
        self._failures[_path(url)] = _Failure(fault, times)

    def withdraw(self, url: str) -> None:
        """Answer 404 for a file from now on."""
        del self.files[_path(url)]

    def request_count(self, url: str) -> int:
        """Return the number of requests for a file."""
        return self.requests.count(_path(url))

    def stop(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next_fault(self, path: str) -> Fault | HTTPStatus | None:
        failure = self._failures.get(path)
        if failure is None or failure.remaining <= 0:
            return None
        failure.remaining -= 1
        return failure.fault

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        host = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.requests.append(self.path)
                content, fault = host.files.get(self.path), host._next_fault(self.path)
                if fault is Fault.RESET:
                    self._reset()
                elif isinstance(fault, HTTPStatus):
                    self.send_error(fault)
                elif content is None:
                    self.send_error(HTTPStatus.NOT_FOUND)
                else:
                    self.send_response(HTTPStatus.OK)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content if fault is None else content[: len(content) // 2])
                    if fault is Fault.RESET_HALFWAY:
                        self._reset()

            def _reset(self) -> None:
                # A linger time of zero makes close() send a reset instead of an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def tarball(files: Mapping[str, bytes]) -> bytes:
    """Return a gzipped tar file, as releases are packed."""
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
