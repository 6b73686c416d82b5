"""Atomic writes and locks."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from system.files import CHECKOUT, create_once, locked, write_atomically


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_written_file_has_content_and_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, mode in (("text\n", 0o600), (b"bytes\n", 0o755)):
        write_atomically(path, content, mode)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert mode_of(path) == mode
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o640)
    write_atomically(path, "text")
    assert mode_of(path) == 0o640


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == 0o640


def test_a_symbolic_link_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("target")
    link.symlink_to(target)
    write_atomically(link, "text")
    assert not link.is_symlink()
    assert target.read_text() == "target"


def test_a_failed_write_leaves_no_draft(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(folder, "text")
    assert list(tmp_path.iterdir()) == [folder]


def test_the_draft_can_be_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "drafts").mkdir()
    write_atomically(tmp_path / "file", "text", draft_folder=tmp_path / "drafts")
    assert (tmp_path / "file").read_text() == "text"
    assert list((tmp_path / "drafts").iterdir()) == []


def test_a_file_is_created_only_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert create_once(path, "first", 0o600)
    assert not create_once(path, "second", 0o600)
    assert (path.read_text(), mode_of(path)) == ("first", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_waits_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = (
        "import sys; from pathlib import Path; from system.files import locked\n"
        "with locked(Path(sys.argv[1]), 'Waiting for another run.'): print('locked', flush=True)\n"
    )
    with locked(path):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "Waiting for another run." in process.stderr.readline()
        assert process.poll() is None
    output, _ = process.communicate()
    assert output == "locked\n"


def test_two_threads_exclude_each_other(tmp_path: Path) -> None:
    inside: list[str] = []

    def work() -> None:
        with locked(tmp_path / "lock"):
            inside.append("in")
            assert len(inside) == 1
            inside.clear()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == []
