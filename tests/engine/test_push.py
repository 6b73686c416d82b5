"""Bringing binaries to a node: `components.push` itself and `assets/node/receive-binaries`, with a real sshd between.

The node is a root file system of its own, and what this machine has of the toolchain a cache of its own. Needs root.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import components.push
from components.artifacts import to_line
from host.access import ssh
from lab.node.node_setup import PROGRAMS, STORE
from lab.node.service import Binary
from lab.node.units import ASSETS
from lab.versions import kubernetes_versions, version
from system.errors import ToolchainError
from system.files import CHECKOUT
from tests.support.damage import flip_a_bit
from tests.support.service_sandbox import Sandbox
from tests.support.ssh_server import SshServer
from toolchain import binaries
from toolchain.cache import Cache

NEW, OLD = kubernetes_versions()[:2]
KUBELET, OLDER_KUBELET = Binary(name="kubelet", version=NEW), Binary(name="kubelet", version=OLD)
RUNC, CRICTL = Binary(name="runc", version=version("runc")), Binary(name="crictl", version=version("crictl"))
SIZES = {KUBELET: 400_000, OLDER_KUBELET: 300_000, RUNC: 50_000, CRICTL: 20_000}


def content(binary: Binary) -> bytes:
    """Bytes that no compression makes less of."""
    return random.Random(f"{binary.name} {binary.version}").randbytes(SIZES[binary])


def digest(binary: Binary) -> str:
    return hashlib.sha256(content(binary)).hexdigest()


class Push:
    """A node, how to log in there, and the folder of the cache of what is brought to it from here."""

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
        """The file of a binary in the cache, made where it is not there."""
        (unit,) = binaries.recipes_for([(binary.name, binary.version)])

        def build(folder: Path) -> None:
            (folder / binary.name).write_bytes(content(binary))

        return Cache(self.cache / "hardway").make(unit.build_key, build).path(binary.name)

    def try_to_run(self, *wanted: Binary, repair: str = "") -> subprocess.CompletedProcess[str]:
        """Runs the push as the command does that `components.connection` makes."""
        return subprocess.run(
            [sys.executable, "-m", "components.push"],
            cwd=CHECKOUT,
            env={
                "PATH": "/usr/bin:/bin",
                "XDG_CACHE_HOME": str(self.cache),
                "HARDWAY_NODE": "node-0",
                "HARDWAY_BINARIES": "\n".join(to_line(binary, digest(binary)) for binary in wanted),
                **({"HARDWAY_REPAIR": repair} if repair else {}),
            },
            input=json.dumps(asdict(self.login)),
            capture_output=True,
            text=True,
        )

    def run(self, *wanted: Binary, repair: str = "") -> int:
        """Pushes, which must succeed; returns how many bytes were sent."""
        done = self.try_to_run(*wanted, repair=repair)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.removesuffix(" bytes sent\n"))

    def unpack_by(self, program: str) -> Path:
        """Has the node unpack by a shell program that stands for tar; returns where it is."""
        path = self.node.path("/usr/local/bin/tar")
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
        return path

    def stored(self, binary: Binary) -> Path:
        """Where the node has it."""
        return self.node.path(f"{STORE}/{digest(binary)}")

    def assert_stored(self, *wanted: Binary) -> None:
        """The node has these, whole, and nothing else."""
        found = {path.name: path.read_bytes() for path in self.node.path(STORE).iterdir()}
        assert found == {digest(binary): content(binary) for binary in wanted}
        for binary in wanted:
            assert (self.stored(binary).stat().st_mode & 0o7777, self.stored(binary).stat().st_mtime) == (0o755, 1)
        assert sorted(path.name for path in self.node.path(STORE).parent.iterdir()) == ["store", "store.lock"]


@pytest.fixture
def push(tmp_path: Path) -> Iterator[Push]:
    node = Sandbox(tmp_path / "node")
    for folder in (PROGRAMS, "/usr/local/bin"):
        node.path(folder).mkdir(parents=True)
    shutil.copy(ASSETS / "node/receive-binaries", node.path(PROGRAMS))
    server = SshServer(tmp_path / "ssh", root=node.root)
    yield Push(node, server, tmp_path / "cache")
    server.stop()
    node.close()


def test_all_is_sent_once(push: Push) -> None:
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET] + SIZES[RUNC]
    push.assert_stored(KUBELET, RUNC)
    assert push.run(KUBELET, RUNC) == 0
    push.assert_stored(KUBELET, RUNC)


def test_of_what_changes_only_that_is_sent_and_what_it_replaces_goes(push: Push) -> None:
    push.run(OLDER_KUBELET, RUNC)
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET]
    push.assert_stored(KUBELET, RUNC)
    assert push.run(KUBELET, RUNC, CRICTL) == SIZES[CRICTL]
    push.assert_stored(KUBELET, RUNC, CRICTL)
    assert push.run(KUBELET) == 0
    push.assert_stored(KUBELET)


def test_what_was_broken_off_midway_is_whole_after_the_next_push(push: Push) -> None:
    push.run(OLDER_KUBELET, RUNC)
    tar = push.unpack_by('head -c 100000 | /usr/bin/tar "$@"; kill -KILL 0')
    broken_off = push.try_to_run(KUBELET, RUNC)
    assert broken_off.returncode == 1
    assert "could not be brought to node-0" in broken_off.stderr
    half = push.node.path(f"/var/lib/hardway/incoming/{digest(KUBELET)}").stat().st_size
    assert 0 < half < SIZES[KUBELET], "nothing was under way: if so, this test proves nothing"
    assert not push.stored(KUBELET).exists()
    tar.unlink()
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET]
    push.assert_stored(KUBELET, RUNC)


def test_what_was_damaged_on_the_node_is_sent_again_where_it_is_repaired(push: Push) -> None:
    push.run(KUBELET, RUNC)
    flip_a_bit(push.stored(KUBELET))
    assert push.run(KUBELET, RUNC) == 0, "a push that repairs nothing reads nothing: if it does, this proves nothing"
    assert push.run(KUBELET, RUNC, repair="kubelet=1") == SIZES[KUBELET]
    push.assert_stored(KUBELET, RUNC)


def test_what_arrives_damaged_is_refused_by_its_name_and_nothing_is_stored(push: Push) -> None:
    tar = push.unpack_by(f'/usr/bin/tar "$@"; echo damage >>/var/lib/hardway/incoming/{digest(KUBELET)}')
    refused = push.try_to_run(KUBELET, RUNC)
    assert refused.returncode == 1
    assert "could not be brought to node-0" in refused.stderr
    assert refused.stderr.splitlines()[-1] == f"what was sent as {digest(KUBELET)} did not arrive whole"
    assert list(push.node.path(STORE).iterdir()) == []
    tar.unlink()
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET] + SIZES[RUNC]
    push.assert_stored(KUBELET, RUNC)


def test_what_fails_once_is_tried_again(push: Push) -> None:
    push.unpack_by('rm "$0"; head -c 100000 | /usr/bin/tar "$@"; kill -KILL 0')
    assert push.run(KUBELET, RUNC) == SIZES[KUBELET] + SIZES[RUNC]
    push.assert_stored(KUBELET, RUNC)


def test_what_is_damaged_in_the_cache_is_named_and_made_anew_by_the_next_run(push: Push) -> None:
    push.run(RUNC)
    path = push.make(KUBELET)
    flip_a_bit(path)
    refused = push.try_to_run(KUBELET, RUNC, CRICTL)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "binaries could not be brought to node-0: Files were damaged in the cache, and are now removed from it: "
        f"kubelet-{NEW}. Run `make up` or `pulumi up` again to create them."
    )
    assert not path.exists()
    assert not push.stored(KUBELET).exists()
    push.make(KUBELET)
    assert push.run(KUBELET, RUNC, CRICTL) == SIZES[KUBELET] + SIZES[CRICTL]
    push.assert_stored(KUBELET, RUNC, CRICTL)


def test_damage_in_the_cache_does_not_matter_to_a_node_that_is_sent_nothing(push: Push) -> None:
    push.run(KUBELET, RUNC)
    flip_a_bit(push.make(KUBELET))
    assert push.run(KUBELET, RUNC) == 0
    push.assert_stored(KUBELET, RUNC)


def test_what_cannot_be_read_here_is_named_and_leaves_the_node_as_it_is(
    push: Push, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(push.cache))
    push.run(RUNC)
    files = {digest(binary): push.make(binary) for binary in (KUBELET, RUNC, CRICTL)}
    files[digest(KUBELET)].unlink()
    with pytest.raises(ToolchainError, match=rf"damaged in the cache, .*: kubelet-{NEW}\."):
        components.push.push(ssh.command(tmp_path, push.login), files, verify=False)
    assert [path.name for path in push.node.path(STORE).iterdir()] == [digest(RUNC)]
