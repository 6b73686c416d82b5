"""A real container registry, distribution, with the images of archives, TLS and a password."""

from __future__ import annotations

import io
import json
import ssl
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import yaml

from tests.support.certificates import AUTHORITY, pair
from tests.support.go_programs import build
from tests.support.ssh_server import free_port
from tests.support.waiting import wait_until

USERNAME, PASSWORD = "ci", "correct-horse-battery"
AUTHORITY_CERTIFICATE, _ = pair(AUTHORITY)

_PASSWORDS = f"{USERNAME}:$2b$05$0.CKijqL1rTxydbuMl/suuhEN7Cn2Lx1uwb2LyIwSghOTBXAzlKWW\n"
"""The username and the bcrypt hash of the password."""


def prepare(folder: Path, address: str, archives: Mapping[str, bytes], port: int = 0) -> tuple[str, list[str]]:
    """Write what a registry needs into a folder, with the images in its storage.

    Args:
        folder: The folder, which is created.
        address: The address to listen on.
        archives: Repository and tag, such as `library/app:1`, to an OCI archive with one image.
        port: The port to listen on. 0 means one that is free on 127.0.0.1.

    Returns:
        The URL, and the argument vector that serves the folder. It logs every request to its standard output.
    """
    folder.mkdir(parents=True)
    storage = {"filesystem": {"rootdirectory": str(folder / "storage")}}
    for name, text in zip(("server.crt", "server.key"), pair("registry", names=(address,)), strict=True):
        (folder / name).write_text(text)
    (folder / "passwords").write_text(_PASSWORDS)
    port = port or free_port()
    private = {
        "addr": f"{address}:{port}",
        "secret": "only-one-server",
        "tls": {"certificate": str(folder / "server.crt"), "key": str(folder / "server.key")},
    }
    htpasswd = {"htpasswd": {"realm": "registry", "path": str(folder / "passwords")}}
    serve = _serve(folder / "config.yml", storage=storage, http=private, auth=htpasswd)
    # The images are pushed to another server with the same storage, because this one may belong to another network.
    public = f"127.0.0.1:{free_port()}"
    with _running(_serve(folder / "push.yml", storage=storage, http={"addr": public}), f"http://{public}"):
        for name, archive in archives.items():
            _push(f"http://{public}/v2", name, archive)
    return f"https://{address}:{port}", serve


@contextmanager
def serving(folder: Path, archives: Mapping[str, bytes]) -> Iterator[tuple[str, Path]]:
    """Serve images on 127.0.0.1, and yield the URL and the log of requests."""
    url, command = prepare(folder, "127.0.0.1", archives)
    with _running(command, url) as log:
        yield url, log


def _serve(configuration: Path, **sections: Any) -> list[str]:
    """Write a configuration, and return the argument vector of a server that uses it."""
    configuration.write_text(yaml.safe_dump({"version": 0.1, **sections}))
    return [str(build("registry", ".")), "serve", str(configuration)]


@contextmanager
def _running(command: list[str], url: str) -> Iterator[Path]:
    """Run a server, wait until it answers, and yield the file with its log."""
    log = Path(command[-1]).with_suffix(".log")
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file) as server:
        try:
            wait_until(
                lambda: _answers(url),
                f"the registry answers, whose log is {log}",
                unless=lambda: server.poll() is not None,
                timeout=60,
            )
            yield log
        finally:
            server.terminate()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(f"{url}/v2/", context=ssl.create_default_context(cadata=AUTHORITY_CERTIFICATE)).close()
    except HTTPError:
        return True  # without the password
    except URLError:
        return False
    return True


def _push(url: str, name: str, archive: bytes) -> None:
    """Push the image of an archive as the distribution specification says.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push
    """
    repository, _, tag = name.rpartition(":")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
        contents = {name: stream.read() for name, stream in files.items() if stream}
    [entry] = json.loads(contents["index.json"])["manifests"]
    manifest = contents[f"blobs/{entry['digest'].replace(':', '/')}"]
    described = json.loads(manifest)
    for blob in (described["config"], *described["layers"]):
        begun = urllib.request.urlopen(urllib.request.Request(f"{url}/{repository}/blobs/uploads/", method="POST"))
        target = f"{begun.headers['Location']}&digest={blob['digest']}"
        _put(target, contents[f"blobs/{blob['digest'].replace(':', '/')}"], "application/octet-stream")
    _put(f"{url}/{repository}/manifests/{tag}", manifest, entry["mediaType"])


def _put(url: str, content: bytes, kind: str) -> None:
    request = urllib.request.Request(url, data=content, method="PUT", headers={"Content-Type": kind})
    urllib.request.urlopen(request).close()
