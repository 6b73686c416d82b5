"""The VM image: what this checkout lays over its root, and where its disk is put together."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from system.errors import ToolchainError
from tests.support.damage import flip_a_bit
from toolchain import vm_image
from toolchain.cache import Cache, key, sha256


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_the_images_files_have_modes_and_owner_of_a_system_whoever_checked_them_out(tmp_path: Path, umask: int) -> None:
    checkout, root = tmp_path / "vm", tmp_path / "image"
    sources = {checkout / "root": vm_image.FILES / "root", checkout / "network": vm_image.NETWORK_FILES}
    for copy, source in sources.items():
        shutil.copytree(source, copy)
    for path in checkout.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod((0o777 if executable else 0o666) & ~umask)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
    (root / "etc").mkdir(parents=True)
    for copy in sources:
        subprocess.run(["sh", "-c", vm_image.lay_over(copy), "sh", root], check=True, umask=umask)

    laid = {path.relative_to(root) for path in root.rglob("*")}
    assert laid == {path.relative_to(copy) for copy in sources for path in copy.rglob("*")}
    for path in (root, *root.rglob("*")):
        candidates = [source / path.relative_to(root) for source in sources.values()]
        executable = path.is_dir() or any(os.access(candidate, os.X_OK) for candidate in candidates)
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if executable else 0o644), path
        assert path.owner() == tmp_path.owner(), path


def test_a_disk_is_put_together_where_nothing_is_left_of_a_killed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vm_image, "as_root", list)
    with vm_image._folder_of_root(tmp_path / ".vm-image-1.first") as first:
        pass
    (first / "root").mkdir(parents=True)
    with vm_image._folder_of_root(tmp_path / ".vm-image-1.second") as work:
        assert work == first
        assert list(work.iterdir()) == []
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == []


class MadeError(Exception):
    """Stands for the making of a disk."""


@pytest.mark.parametrize("damaged", ["debian", "kubelet"])
def test_no_disk_is_made_of_files_that_are_damaged_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    def make_root(folder: Path) -> None:
        (folder / "root.tar").write_text("an operating system")

    def make_kubelet(folder: Path) -> None:
        (folder / "kubelet").write_text("a program")

    def make_disk(*_: object) -> None:
        raise MadeError

    monkeypatch.setattr(vm_image, "_make_root", make_root)
    monkeypatch.setattr(vm_image, "_make_disk", make_disk)
    cache, kubelet = Cache(tmp_path), key("kubelet", version="1")
    path = cache.make(kubelet, make_kubelet).path("kubelet")
    with pytest.raises(MadeError):
        vm_image.ensure_vm_image({sha256(path): path}, cache)
    (root,) = tmp_path.glob("entries/debian-*/root.tar")
    flip_a_bit({"debian": root, "kubelet": path}[damaged])
    with pytest.raises(ToolchainError, match=rf"damaged in the cache, .*: {damaged}\. Run .* again"):
        vm_image.ensure_vm_image({sha256(path): path}, cache)
    cache.make(kubelet, make_kubelet)
    with pytest.raises(MadeError):
        vm_image.ensure_vm_image({sha256(path): path}, cache)
