"""The file with the checksums of releases that `lab/versions.toml` does not list."""

from pathlib import Path

import pytest

from system.errors import ToolchainError
from toolchain.release_lock import ReleaseLock

URL, OTHER = "https://releases.example/b", "https://releases.example/a"


def test_missing_file_has_no_records(tmp_path: Path) -> None:
    assert ReleaseLock(tmp_path / "versions.lock").sha256(URL) == ""


def test_records_are_sorted_and_read_again(tmp_path: Path) -> None:
    file = tmp_path / "versions.lock"
    ReleaseLock(file).record(URL, "1" * 64)
    ReleaseLock(file).record(OTHER, "2" * 64)
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    assert lines == [f"{'2' * 64}  {OTHER}", f"{'1' * 64}  {URL}"]
    assert ReleaseLock(file).sha256(URL) == "1" * 64


def test_file_says_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "versions.lock"
    ReleaseLock(file).record(URL, "1" * 64)
    assert "Keep this file in Git" in file.read_text()


def test_conflict_of_a_merge_is_named(tmp_path: Path) -> None:
    file = tmp_path / "versions.lock"
    file.write_text(f"{'1' * 64}  {URL}\n=======\n{'2' * 64}  {URL}\n")
    with pytest.raises(ToolchainError, match=r"versions\.lock: this line is not a SHA-256 and a URL.*======="):
        ReleaseLock(file).sha256(URL)
