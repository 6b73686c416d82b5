"""Artifacts as the lines by which the program names them to `components.push`, their files, and images in archives."""

import hashlib
from pathlib import Path

import pytest

from components import artifacts
from lab.node.service import Artifact, Binary, Image, Snapshot
from system.errors import ToolchainError
from tests.support.image_archives import docker_archive
from toolchain.cache import Cache
from toolchain.images import ImageArchive

APP, PAUSE = "registry.example/app:1", "registry.k8s.io/pause:3.10"


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
    assert artifacts.digests([[snapshot]]) == {snapshot: hashlib.sha256(content).hexdigest()}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, and a toolchain that makes no image."""
    monkeypatch.setattr("toolchain.image_archive.Cache", lambda: Cache(tmp_path / "cache"))
    made = ImageArchive(tmp_path / "pause.tar", "0" * 64, PAUSE)
    monkeypatch.setattr("toolchain.images.ensure", lambda names, **_: dict.fromkeys(names, made))


def save(file: Path, *names: str) -> str:
    """Write an archive of images, and return its path."""
    file.write_bytes(docker_archive(*names))
    return str(file)


@pytest.mark.usefixtures("cache")
def test_an_archive_must_not_replace_an_image_of_the_lab(tmp_path: Path) -> None:
    app = Image(name=APP, archive=save(tmp_path / "app.tar", APP, PAUSE))
    assert artifacts.digests([[app]])
    with pytest.raises(ToolchainError, match=rf"image {APP}: .*app\.tar also contains {PAUSE}, .* from the lab itself"):
        artifacts.digests([[app, Image(name="pause", version="3.10")]])


@pytest.mark.usefixtures("cache")
def test_an_archive_must_not_replace_an_image_of_another_archive(tmp_path: Path) -> None:
    other = "registry.example/other:1"
    both = save(tmp_path / "both.tar", APP, other)
    assert len(artifacts.digests([[Image(name=APP, archive=both), Image(name=other, archive=both)]])) == 2
    separate = Image(name=other, archive=save(tmp_path / "other.tar", other))
    with pytest.raises(ToolchainError, match=rf"both\.tar also contains {other}, .* from .*other\.tar"):
        artifacts.digests([[Image(name=APP, archive=both), separate]])


@pytest.mark.usefixtures("cache")
def test_archives_of_different_nodes_may_contain_the_same_image(tmp_path: Path) -> None:
    other = "registry.example/other:1"
    both = Image(name=APP, archive=save(tmp_path / "both.tar", APP, other))
    separate = Image(name=other, archive=save(tmp_path / "other.tar", other))
    pause = Image(name="pause", version="3.10")
    with_pause = Image(name=other, archive=save(tmp_path / "with-pause.tar", other, PAUSE))
    assert len(artifacts.digests([[both], [separate, pause], [with_pause]])) == 4
