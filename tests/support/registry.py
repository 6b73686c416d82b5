"""A container registry with the images of archives, TLS and a password. It counts what it is asked for.

It serves pulls as the distribution specification defines them:
https://github.com/opencontainers/distribution-spec/blob/main/spec.md. As a program, it serves until it is ended:
`python -m tests.support.registry ADDRESS PORT FOLDER`, with a folder from `prepare`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.support.certificates import AUTHORITY, pair
from tests.support.http_server import serving_http

USERNAME, PASSWORD = "ci", "correct-horse-battery"
AUTHORITY_CERTIFICATE, _ = pair(AUTHORITY)


def prepare(folder: Path, address: str, archives: Mapping[str, bytes]) -> None:
    """Write what a registry needs into a folder.

    Args:
        folder: The folder, which is created.
        address: The address in the registry's certificate.
        archives: Repository and tag, such as `library/app:1`, to an OCI archive with one image.
    """
    folder.mkdir(parents=True)
    (folder / "pair.pem").write_text("".join(pair("registry", names=(address,))))
    for index, (name, archive) in enumerate(archives.items()):
        (folder / f"{index}.tar").write_bytes(archive)
        (folder / f"{index}.name").write_text(name)


@contextmanager
def serving(folder: Path, address: str, port: int = 0) -> Iterator[tuple[str, list[str]]]:
    """Serve a prepared folder, and yield the URL and the list of the paths of accepted requests."""
    contents, accepted = _contents(folder), list[str]()
    authorization = f"Basic {base64.b64encode(f'{USERNAME}:{PASSWORD}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, content = 200, "application/json", b"{}"
            if self.headers["Authorization"] != authorization:
                status = 401
            elif self.path.rstrip("/") != "/v2":
                accepted.append(self.path)
                # Mirrors get the registry of the image as a query.
                found = contents.get(self.path.partition("?")[0])
                status, (kind, content) = (200, found) if found else (404, (kind, content))
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="registry"')
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(content).hexdigest()}")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with serving_http(Handler, folder / "pair.pem", address, port) as url:
        yield url, accepted


def _contents(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Return the type and content of each path that the registry serves."""
    contents = {}
    for file in sorted(folder.glob("*.tar")):
        repository, _, tag = file.with_suffix(".name").read_text().rpartition(":")
        with tarfile.open(fileobj=io.BytesIO(file.read_bytes())) as tar:
            files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            blobs = {name: stream.read() for name, stream in files.items() if stream}
        [entry] = json.loads(blobs["index.json"])["manifests"]
        for name, content in blobs.items():
            digest = f"sha256:{name.rpartition('/')[2]}"
            contents[f"/v2/{repository}/blobs/{digest}"] = ("application/octet-stream", content)
            contents[f"/v2/{repository}/manifests/{digest}"] = (entry["mediaType"], content)
        contents[f"/v2/{repository}/manifests/{tag}"] = contents[f"/v2/{repository}/manifests/{entry['digest']}"]
    return contents


if __name__ == "__main__":
    with serving(Path(sys.argv[3]), sys.argv[1], int(sys.argv[2])) as (url, _requests):
        print(url, flush=True)
        threading.Event().wait()
