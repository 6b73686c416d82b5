"""The VM image: what this checkout lays over its root, and where its disk is put together."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from toolchain import vm_image


@pytest.mark.parametrize("umask", [0o002, 0o022, 0o077])
def test_the_images_files_have_modes_and_owner_of_a_system_whoever_checked_them_out(tmp_path: Path, umask: int) -> None:
    checkout, root = tmp_path / "vm", tmp_path / "image"
    shutil.copytree(vm_image.FILES, checkout)
    for path in checkout.rglob("*"):
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod((0o777 if executable else 0o666) & ~umask)
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
    (root / "etc").mkdir(parents=True)
    subprocess.run(["sh", "-c", vm_image.LAY_OVER, "sh", root], cwd=checkout, check=True, umask=umask)

    laid = {path.relative_to(root) for path in root.rglob("*")}
    assert laid == {path.relative_to(checkout / "root") for path in (checkout / "root").rglob("*")}
    for path in (root, *root.rglob("*")):
        executable = path.is_dir() or os.access(vm_image.FILES / "root" / path.relative_to(root), os.X_OK)
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
