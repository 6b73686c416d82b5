"""The real containerd pulls through the files of `lab.node.registries`, from a registry with TLS and a password."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components import artifacts
from lab.node.registries import registry_files
from lab.node.service import Binary
from lab.spec import Registry
from lab.versions import version
from tests.support import registry
from toolchain import images

ARCHIVE = images.archive("docker.io/library/app:1", {"app": b"content"}, {"Cmd": ["/app"]})
NAME = "docker.io/library/app:1"
PULLED = re.compile(r'"HEAD /v2/library/app/manifests/1(\?ns=docker\.io)? HTTP/[^"]+" 200 ')
"""A line of the registry's log about an image that was found."""
REFUSED = "authorization failed: no basic auth credentials"
CONFIGURATION = """\
version = 3
root = "{folder}/root"
state = "{folder}/state"
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{folder}/certs.d"
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux/amd64"
snapshotter = "native"
"""


class Containerd:
    """containerd and crictl in a folder, for images only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        wanted = {name: Binary(name=name, version=version("containerd")) for name in ("containerd", "ctr")}
        wanted["crictl"] = Binary(name="crictl", version=version("crictl"))
        found = artifacts.find(wanted.values())
        self.programs = {name: str(found[binary][0]) for name, binary in wanted.items()}
        (folder / "config.toml").write_text(CONFIGURATION.format(folder=folder))
        self.process = subprocess.Popen(
            [self.programs["containerd"], "--config", folder / "config.toml"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while self.crictl("version").returncode != 0:
            assert time.monotonic() < deadline
            time.sleep(0.5)

    def crictl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        socket = f"unix://{self.folder}/containerd.sock"
        endpoints = [f"--runtime-endpoint={socket}", f"--image-endpoint={socket}", "--timeout=60s"]
        return subprocess.run(
            [self.programs["crictl"], *endpoints, *arguments], capture_output=True, text=True, check=False
        )

    def pull(self, entry: Registry, name: str = NAME) -> str:
        """Pull an image through an entry, and return the error; empty if it succeeds."""
        for path, file in registry_files((entry,)).items():
            target = self.folder / path.removeprefix("/etc/containerd/")
            target.parent.mkdir(parents=True, exist_ok=True)
            assert isinstance(file.content, str)
            target.write_text(file.content)
        result = self.crictl("pull", name)
        return result.stderr if result.returncode else ""


@pytest.fixture
def containerd() -> Iterator[Containerd]:
    """A containerd in a folder with a short path, because the path of a socket may have at most 107 characters."""
    if os.geteuid() != 0:
        pytest.skip("containerd needs root")
    with tempfile.TemporaryDirectory(prefix="containerd-", ignore_cleanup_errors=True) as folder:
        one = Containerd(Path(folder))
        yield one
        one.process.terminate()
        one.process.wait()


def test_containerd_pulls_through_a_mirror_with_tls_and_a_password(containerd: Containerd, tmp_path: Path) -> None:
    with registry.serving(tmp_path / "registry", {"library/app:1": ARCHIVE}) as (url, log):

        def entry(password: str) -> Registry:
            return Registry(
                host="docker.io",
                mirrors=(url,),
                certificate_authority=registry.AUTHORITY_CERTIFICATE,
                username=registry.USERNAME,
                password=password,
            )

        assert REFUSED in containerd.pull(entry("wrong"))
        assert not PULLED.search(log.read_text())
        # containerd reads the folder again, without a restart.
        assert containerd.pull(entry(registry.PASSWORD)) == ""
        found = PULLED.search(log.read_text())
        assert found
        assert found[1] == "?ns=docker.io"


def test_containerd_uses_the_password_of_a_registry_without_mirrors(containerd: Containerd, tmp_path: Path) -> None:
    with registry.serving(tmp_path / "registry", {"library/app:1": ARCHIVE}) as (url, log):
        host = url.removeprefix("https://")
        entry = Registry(
            host=host,
            certificate_authority=registry.AUTHORITY_CERTIFICATE,
            username=registry.USERNAME,
            password="wrong",
        )
        assert REFUSED in containerd.pull(entry, f"{host}/library/app:1")
        assert not PULLED.search(log.read_text())
        assert containerd.pull(replace(entry, password=registry.PASSWORD), f"{host}/library/app:1") == ""
