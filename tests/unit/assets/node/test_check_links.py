"""`assets/node/check-links` with files and links in a folder."""

import subprocess
from pathlib import Path

from system.files import CHECKOUT


def check(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CHECKOUT / "assets/node/check-links", *paths], capture_output=True, text=True, check=False)


def test_folders_are_accepted_whether_they_exist_or_not(tmp_path: Path) -> None:
    assert check(tmp_path / "a", tmp_path / "new/folder/a").returncode == 0


def test_a_link_in_the_place_of_the_file_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    assert check(tmp_path / "a").returncode == 0


def test_a_link_is_refused_with_the_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    path = tmp_path / "link/new/a"
    result = check(tmp_path / "a", path)
    assert result.returncode == 1
    assert f"{path} goes through {tmp_path}/link, which is a link to {tmp_path}/real." in result.stdout
    assert f"Use the path {tmp_path}/real/new/a.\n" in result.stdout
