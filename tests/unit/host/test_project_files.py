"""Files of the project: which can be read."""

from pathlib import Path

import pytest

from host.project_files import MAX_SIZE, read_project_file


def test_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a").write_text("ä\n")
    assert read_project_file("files/a", tmp_path) == "ä\n"


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        ("missing", "cannot be read: No such file"),
        ("folder", "cannot be read: Is a directory"),
        ("../a", "inside that folder"),
        ("/etc/hostname", "relative"),
        ("link", "inside that folder"),
        (".lab/passphrase", "must not be in .lab"),
        ("large", "at most 4096 KiB"),
        ("binary", "UTF-8"),
        ("https://example.com/a.yaml", "ends with #sha256="),
    ],
)
def test_other_files_are_refused(tmp_path: Path, path: str, fragment: str) -> None:
    (tmp_path / ".lab").mkdir()
    (tmp_path / ".lab/passphrase").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "large").write_bytes(bytes(MAX_SIZE + 1))
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=fragment):
        read_project_file(path, tmp_path)
