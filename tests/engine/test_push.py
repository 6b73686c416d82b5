"""`components.push` sends binaries to `assets/node/receive-binaries` through a real sshd.

The node is a separate root file system, and the toolchain uses a separate cache. The tests need root.
"""

from __future__ import annotations

import hashlib
import json
import random
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import components.push
from components.artifacts import to_line
from host.access import ssh
from lab.node.paths import PROGRAMS, STORE
from lab.node.service import Binary
from lab.versions import kubernetes_versions, version
from system.errors import ToolchainError
from system.files import CHECKOUT
from tests.support.damage import flip_a_bit
from tests.support.node_programs import install
from tests.support.service_sandbox import Sandbox
from tests.support.ssh_server import SshServer
from toolchain import binaries
from toolchain.cache import Cache

NEW, OLD = kubernetes_versions()[:2]
KUBELET, OLDER_KUBELET = Binary(name="kubelet", version=NEW), Binary(name="kubelet", version=OLD)
RUNC, CRICTL = Binary(name="runc", version=version("runc")), Binary(name="crictl", version=version("crictl"))
SIZES = {KUBELET: 400_000, OLDER_KUBELET: 300_000, RUNC: 50_000, CRICTL: 20_000}


def content(binary: Binary) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(f"{binary.name} {binary.version}").randbytes(SIZES[binary])


def digest(binary: Binary) -> str:
    return hashlib.sha256(content(binary)).hexdigest()


class Push:
    """A node, its login, and the cache of the binaries to send to it."""

    def __init__(self, node: Sandbox, server: SshServer, cache: Path) -> None:
        self.node, self.cache = node, cache
        self.login = ssh.Login(
            address="127.0.0.1",
            key=server.key("user_key"),
            host_key=server.key("host_key.pub").strip(),
            port=server.port,
        )
        for binary in SIZES:
            self.make(binary)

    def make(self, binary: Binary) -> Path:
        """Return the file of a binary in the cache. Create it if it is missing."""
        (unit,) = binaries.recipes_for([(binary.name, binary.version)])
        assert unit.build_key

        def build(folder: Path) -> None:
            (folder / binary.name).write_bytes(content(binary))

        return Cache(self.cache / "hardway").make(unit.build_key, build).path(binary.name)

    def try_to_run(self, *programs: Binary, repair: str = "") -> subprocess.CompletedProcess[str]:
        """Run the push like the command of `components.connection`."""
        return subprocess.run(
            [sys.executable, "-m", "components.push"],
            cwd=CHECKOUT,
            env={
                "PATH": "/usr/bin:/bin",
                "XDG_CACHE_HOME": str(self.cache),
                "HARDWAY_NODE": "node-0",
                "HARDWAY_BINARIES": "\n".join(to_line(binary, digest(binary)) for binary in programs),
                **({"HARDWAY_REPAIR": repair} if repair else {}),
            },
            input=json.dumps(asdict(self.login)),
            capture_output=True,
            text=True,
        )

    def run(self, *programs: Binary, repair: str = "") -> int:
        """Push, check that it succeeds, and return the number of bytes sent."""
        done = self.try_to_run(*programs, repair=repair)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.removesuffix(" bytes sent\n"))

    def replace_tar(self, program: str) -> Path:
        """Replace tar on the node by a shell program and return its path."""
        path = self.node.path("/usr/local/bin/tar")
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
        return path

    def stored(self, binary: Binary) -> Path:
        """Return the path of a binary in the store of the node."""
        return self.node.path(f"{STORE}/{digest(binary)}")

    def assert_stored(self, *programs: Binary) -> None:
        """Check that the store has exactly these binaries, complete, and that only root can read it."""
        assert stat.S_IMODE(self.node.path(STORE).stat().st_mode) == 0o700
        found = {path.name: path.read_bytes() for path in self.node.path(STORE).iterdir()}
        assert found == {digest(binary): content(binary) for binary in programs}
        for binary in programs:
            assert (self.stored(binary).stat().st_mode & 0o7777, self.stored(binary).stat().st_mtime) == (0o755, 1)
        assert sorted(path.name for path in self.node.path(STORE).parent.iterdir()) == ["store", "store.lock"]


@pytest.fixture
def push(tmp_path: Path) -> Iterator[Push]:
    node = Sandbox(tmp_path / "node")
    for folder in (PROGRAMS, "/usr/local/bin"):
        node.path(folder).mkdir(parents=True)
    install(node.path(PROGRAMS))
    server = SshServer(tmp_path / "ssh", root=node.root)
    yield Push(node, server, tmp_path / "cache")
    server.stop()
    node.close()


def test_each_binary_is_sent_once(push: Push) -> None:
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET] + SIZES[RUNC]
    push.assert_stored(KUBELET, RUNC)
    assert push.run(KUBELET, RUNC) == 0
    push.assert_stored(KUBELET, RUNC)


def test_only_changed_binaries_are_sent(push: Push) -> None:
    push.run(OLDER_KUBELET, RUNC)
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET]
    push.assert_stored(KUBELET, RUNC)
    assert push.run(KUBELET, RUNC, CRICTL) == SIZES[CRICTL]
    push.assert_stored(KUBELET, RUNC, CRICTL)
    assert push.run(KUBELET) == 0
    push.assert_stored(KUBELET)


def test_interrupted_push_is_completed(push: Push) -> None:
    push.run(OLDER_KUBELET, RUNC)
    tar = push.replace_tar('head -c 100000 | /usr/bin/tar "$@"; kill -KILL 0')
    interrupted = push.try_to_run(KUBELET, RUNC)
    assert interrupted.returncode == 1
    assert "could not be sent to node-0" in interrupted.stderr
    size = push.node.path(f"/var/lib/hardway/incoming/{digest(KUBELET)}").stat().st_size
    assert 0 < size < SIZES[KUBELET], "the push was not interrupted midway, so this test proves nothing"
    assert not push.stored(KUBELET).exists()
    tar.unlink()
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET]
    push.assert_stored(KUBELET, RUNC)


def test_repair_sends_damaged_binaries_again(push: Push) -> None:
    push.run(KUBELET, RUNC)
    flip_a_bit(push.stored(KUBELET))
    assert push.run(KUBELET, RUNC) == 0, "a push without repair must not read the store"
    assert push.run(KUBELET, RUNC, repair="kubelet=1") == SIZES[KUBELET]
    push.assert_stored(KUBELET, RUNC)


def test_damaged_transfer_is_refused(push: Push) -> None:
    tar = push.replace_tar(f'/usr/bin/tar "$@"; echo damage >>/var/lib/hardway/incoming/{digest(KUBELET)}')
    refused = push.try_to_run(KUBELET, RUNC)
    assert refused.returncode == 1
    assert "could not be sent to node-0" in refused.stderr
    assert refused.stderr.splitlines()[-1] == f"The file {digest(KUBELET)} did not arrive complete."
    assert list(push.node.path(STORE).iterdir()) == []
    tar.unlink()
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET] + SIZES[RUNC]
    push.assert_stored(KUBELET, RUNC)


def test_failed_push_is_retried(push: Push) -> None:
    push.replace_tar('rm "$0"; head -c 100000 | /usr/bin/tar "$@"; kill -KILL 0')
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET] + SIZES[RUNC]
    push.assert_stored(KUBELET, RUNC)


def test_damaged_cache_entry_is_named_and_rebuilt(push: Push) -> None:
    push.run(RUNC)
    path = push.make(KUBELET)
    flip_a_bit(path)
    refused = push.try_to_run(KUBELET, RUNC, CRICTL)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "binaries could not be sent to node-0: Files were damaged in the cache, and are now removed from it: "
        f"kubelet-{NEW}. Run `make up` or `pulumi up` again to create them."
    )
    assert not path.exists()
    assert not push.stored(KUBELET).exists()
    push.make(KUBELET)
    assert push.run(KUBELET, RUNC, CRICTL) == SIZES[KUBELET] + SIZES[CRICTL]
    push.assert_stored(KUBELET, RUNC, CRICTL)


def test_unused_damage_in_the_cache_does_not_matter(push: Push) -> None:
    push.run(KUBELET, RUNC)
    flip_a_bit(push.make(KUBELET))
    assert push.run(KUBELET, RUNC) == 0
    push.assert_stored(KUBELET, RUNC)


def test_unreadable_cache_entry_leaves_the_node_unchanged(
    push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(push.cache))
    push.run(RUNC)
    files = {digest(binary): push.make(binary) for binary in (KUBELET, RUNC, CRICTL)}
    files[digest(KUBELET)].unlink()
    with pytest.raises(ToolchainError, match=rf"damaged in the cache, .*: kubelet-{NEW}\."):
        components.push.push(ssh.command(tmp_path, push.login), files, verify=False)
    assert [path.name for path in push.node.path(STORE).iterdir()] == [digest(RUNC)]
