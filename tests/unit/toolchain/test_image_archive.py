"""Archives of images that the configuration names."""

import hashlib
from pathlib import Path

import pytest

from system.errors import ToolchainError
from tests.support.image_archives import docker_archive
from tests.support.release_host import ReleaseHost
from toolchain import image_archive, images
from toolchain.cache import Cache, key
from toolchain.release import ReleaseHosts

NAME = "registry.example/app:1"
OCI = images.archive(NAME, {"app": b"content"}, {})


def ensure(folder: Path, content: bytes, name: str = NAME, digest: str = "") -> images.ImageArchive:
    (folder / "app.tar").write_bytes(content)
    return image_archive.ensure(name, f"{folder / 'app.tar'}{digest}", Cache(folder / "cache"))


def test_a_file_is_kept_as_it_was(tmp_path: Path) -> None:
    found = ensure(tmp_path, OCI)
    (tmp_path / "app.tar").unlink()
    assert found.path.read_bytes() == OCI
    assert found.sha256 == hashlib.sha256(OCI).hexdigest()
    assert found.reference == NAME


@pytest.mark.parametrize("compression", ["", "gz"])
@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("nginx:1", "docker.io/library/nginx:1"),
        ("bitnami/nginx:1", "docker.io/bitnami/nginx:1"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
    ],
)
def test_an_archive_of_docker_is_accepted(tag: str, name: str, compression: str, tmp_path: Path) -> None:
    found = ensure(tmp_path, docker_archive("other:1", tag, compression=compression), name)
    assert found.reference == name
    assert found.others == {"docker.io/library/other:1"}


def test_another_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ToolchainError, match=r"image registry\.example/app:2: .*app\.tar contains registry\.example/app:1\."
    ):
        ensure(tmp_path, OCI, "registry.example/app:2")


@pytest.mark.parametrize("content", [b"no archive", docker_archive()[:512], b""])
def test_a_file_without_images_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=r"is no archive of images|contains no image"):
        ensure(tmp_path, content)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="does not exist"):
        image_archive.ensure(NAME, "no/such.tar", Cache(tmp_path))


def test_a_pinned_file_must_not_differ(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="is configured"):
        ensure(tmp_path, OCI, digest=f"#sha256={'0' * 64}")


def test_an_archive_of_a_former_version_is_not_downloaded_again(tmp_path: Path) -> None:
    cache, digest = Cache(tmp_path), hashlib.sha256(OCI).hexdigest()

    def make(folder: Path) -> None:
        (folder / image_archive.FILE).write_bytes(OCI)

    cache.make(key("image-archive", reference=NAME, sha256=digest), make)
    unreachable = ReleaseHosts(mirrors={"files.example": "http://127.0.0.1:1"})
    found = image_archive.ensure(NAME, f"https://files.example/app.tar#sha256={digest}", cache, unreachable)
    assert found.path.read_bytes() == OCI


def test_a_url_is_downloaded_once(tmp_path: Path) -> None:
    host = ReleaseHost()
    try:
        url = "https://files.example/app.tar"
        host.files["/files.example/app.tar"] = OCI
        hosts = ReleaseHosts(mirrors=host.mirrors("files.example"))
        for _ in range(2):
            location = f"{url}#sha256={hashlib.sha256(OCI).hexdigest()}"
            assert image_archive.ensure(NAME, location, Cache(tmp_path), hosts).path.read_bytes() == OCI
        assert host.request_count(url) == 1
    finally:
        host.stop()
