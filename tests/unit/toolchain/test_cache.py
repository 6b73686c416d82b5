"""The cache: an entry is complete or missing, even if its creation is interrupted or its files are damaged."""

import errno
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from system.errors import ToolchainError
from tests.support.damage import flip_a_bit
from toolchain.cache import MANIFEST, Cache, Key, key

PROGRAM = b"a program" * 1000
KEY = key("program", version="1")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def put(content: bytes = PROGRAM) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "bin").mkdir()
        (folder / "bin/program").write_bytes(content)
        return "made by a test"

    return make


def fail(_: Path) -> None:
    pytest.fail("the entry exists and must not be made again")


def test_entry_is_made_once_and_found_again(cache: Cache) -> None:
    made = cache.make(KEY, put())
    found = cache.make(KEY, fail)
    assert found == made
    assert found.path("bin/program").read_bytes() == PROGRAM
    assert found.note == "made by a test"


def test_key_depends_on_all_inputs() -> None:
    assert key("program", version="1", go="1.26") == key("program", go="1.26", version="1")
    assert key("program", version="1", go="1.26") != key("program", version="1", go="1.27")
    assert key("program", version="1") != key("other", version="1")


def test_missing_entry_is_not_found(cache: Cache) -> None:
    assert cache.find(KEY) is None


def test_failed_make_leaves_nothing(cache: Cache, tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("half of it")
        raise RuntimeError("no more space")

    with pytest.raises(RuntimeError, match="no more space"):
        cache.make(KEY, make)
    assert cache.find(KEY) is None
    assert list((tmp_path / "entries").iterdir()) == []


def test_full_disk_error_names_entry_and_path(cache: Cache, tmp_path: Path) -> None:
    def make(_: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(
        ToolchainError, match=f"program cannot be stored: {tmp_path}/entries: No space left.*run the command"
    ):
        cache.make(KEY, make)


def test_unwritable_cache_error_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolchainError, match=f"program cannot be stored: {tmp_path}/file/.*: Not a directory"):
        Cache(tmp_path / "file").make(KEY, put())


def truncate(path: Path) -> None:
    path.write_bytes(PROGRAM[:100])


def change_a_byte(path: Path) -> None:
    path.write_bytes(b"x" + PROGRAM[1:])


@pytest.mark.parametrize("damage", [truncate, change_a_byte, Path.unlink])
def test_damaged_file_is_made_again(cache: Cache, damage: Callable[[Path], object]) -> None:
    damage(cache.make(KEY, put()).path("bin/program"))
    assert cache.find(KEY) is None
    assert cache.make(KEY, put()).path("bin/program").read_bytes() == PROGRAM
    assert cache.find(KEY) is not None


@pytest.mark.parametrize("manifest", ["", "{", "[]", "null", '{"files": {"bin/program": {}}, "note": ""}', "{}"])
def test_damaged_manifest_is_made_again(cache: Cache, manifest: str) -> None:
    entry = cache.make(KEY, put())
    (entry.folder / MANIFEST).write_text(manifest)
    assert cache.find(KEY) is None
    assert cache.make(KEY, put()).path("bin/program").read_bytes() == PROGRAM


def test_touched_but_equal_file_is_used(cache: Cache) -> None:
    path = cache.make(KEY, put()).path("bin/program")
    os.utime(path, (0, 0))
    found = cache.make(KEY, fail)
    assert found.files["bin/program"].mtime_ns == 0
    assert json.loads((found.folder / MANIFEST).read_text())["files"]["bin/program"]["mtime_ns"] == 0


def test_verify_finds_damage_that_keeps_size_and_time(cache: Cache, tmp_path: Path) -> None:
    flip_a_bit(cache.make(KEY, put()).path("bin/program"))
    assert cache.find(KEY) is not None, "The cheap check must not notice this damage, or the test proves nothing."
    assert Cache(tmp_path, verify=True).find(KEY) is None


def test_touched_file_does_not_hide_other_damage(cache: Cache, tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "a").write_bytes(PROGRAM)
        (folder / "b").write_bytes(PROGRAM)

    entry = cache.make(KEY, make)
    flip_a_bit(entry.path("b"))
    os.utime(entry.path("a"), (0, 0))
    assert cache.find(KEY) is not None
    assert Cache(tmp_path, verify=True).find(KEY) is None


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, Path.unlink])
def test_only_damaged_entries_are_named_and_removed(cache: Cache, damage: Callable[[Path], object]) -> None:
    entry, other = cache.make(KEY, put()), cache.make(key("other-program", version="1"), put())
    files = [entry.path("bin/program"), other.path("bin/program")]
    cache.require_intact(files)
    damage(files[0])
    with pytest.raises(ToolchainError, match=r"damaged in the cache, .*: program\. Run `make up`.* again"):
        cache.require_intact(files)
    assert cache.find(KEY) is None
    assert cache.find(key("other-program", version="1")) == other
    cache.make(KEY, put())
    cache.require_intact(files)


def test_removed_entry_counts_as_damaged(cache: Cache) -> None:
    path = cache.make(KEY, put()).path("bin/program")
    flip_a_bit(path)
    for _ in range(2):
        with pytest.raises(ToolchainError, match=r"damaged in the cache, .*: program\."):
            cache.require_intact([path])


def _make_slowly(root: Path, key: Key, made: Path, both: "multiprocessing.synchronize.Barrier") -> None:
    def make(folder: Path) -> None:
        (folder / "program").write_bytes(PROGRAM)
        with made.open("a") as log:
            log.write("made\n")

    both.wait()
    assert Cache(root).make(key, make).path("program").read_bytes() == PROGRAM


def test_concurrent_runs_make_an_entry_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    made, both = tmp_path / "made", context.Barrier(4)
    runs = [context.Process(target=_make_slowly, args=(tmp_path / "cache", KEY, made, both)) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0, 0]
    assert made.read_text() == "made\n"


def _make_and_be_killed(root: Path, key: Key) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("half of it")
        os.kill(os.getpid(), signal.SIGKILL)

    Cache(root).make(key, make)


def test_leftovers_of_a_killed_run_are_removed(cache: Cache, tmp_path: Path) -> None:
    other = key("other", version="1")
    for each in (KEY, other):
        run = multiprocessing.get_context("fork").Process(target=_make_and_be_killed, args=(tmp_path, each))
        run.start()
        run.join()
    assert len(list((tmp_path / "entries").iterdir())) == 2
    cache.make(KEY, put())
    kept, left = sorted((tmp_path / "entries").iterdir(), reverse=True)
    assert kept.name == str(KEY)
    assert left.name.startswith(f".{other}.")


def test_prune_removes_old_entries_and_leftovers(cache: Cache, tmp_path: Path) -> None:
    kept, old = cache.make(KEY, put()), cache.make(key("old", version="1"), put())
    leftover = tmp_path / "entries/.program-1.interrupted"
    leftover.mkdir()
    long_ago = time.time() - 31 * 24 * 3600
    for folder in (old.folder, leftover):
        os.utime(folder, (long_ago, long_ago))
    (leftover / "half").write_bytes(PROGRAM)
    os.utime(leftover, (long_ago, long_ago))
    pruned = {entry.name: entry.size for entry in cache.prune()}
    assert pruned.keys() == {old.folder.name, leftover.name}
    assert all(size >= len(PROGRAM) for size in pruned.values())
    assert cache.find(KEY) == kept
    assert not old.folder.exists()
    assert not leftover.exists()


def test_used_entry_is_not_pruned(cache: Cache) -> None:
    entry = cache.make(KEY, put())
    long_ago = time.time() - 31 * 24 * 3600
    os.utime(entry.folder, (long_ago, long_ago))
    assert cache.find(KEY) is not None
    assert cache.prune() == []


def test_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert Cache().make(KEY, put()).folder.is_relative_to(tmp_path / "elsewhere/hardway")
