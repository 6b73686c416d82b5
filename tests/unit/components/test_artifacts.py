"""Artifacts as the lines by which the program names them to `components.push`, and the files of snapshots."""

import hashlib
from pathlib import Path

import pytest

from components import artifacts
from lab.node.service import Artifact, Binary, Image, Snapshot
from toolchain.cache import Cache


@pytest.mark.parametrize(
    "artifact",
    [
        Binary(name="etcd", version="v3.6.16"),
        Image(name="pause", version="3.10"),
        Image(name="registry.example/app:1", archive="images/app.tar"),
        Snapshot(version=".lab/stacks/dev/etcd/one.db"),
    ],
)
def test_a_line_names_one_artifact(artifact: Artifact) -> None:
    assert artifacts.from_line(artifacts.to_line(artifact, "a" * 64)) == (artifact, "a" * 64)


def test_a_snapshot_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolchain.etcd_snapshot.Cache", lambda: Cache(tmp_path / "cache"))
    content = b"keys" + hashlib.sha256(b"keys").digest()
    (tmp_path / "one.db").write_bytes(content)
    snapshot = Snapshot(version=str(tmp_path / "one.db"))
    assert artifacts.digests([snapshot]) == {snapshot: hashlib.sha256(content).hexdigest()}
