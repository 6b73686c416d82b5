"""The VM image: what this checkout lays over its root."""

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
