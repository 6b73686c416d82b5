"""The toolchain's command line: its help, its errors and the report of `prune`."""

import errno
import os
import re
import time
from pathlib import Path

import pytest

from toolchain import engine
from toolchain.__main__ import main
from toolchain.cache import UNUSED_AFTER, Cache, key


def test_machine_fault_is_one_line_without_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(pulumi_home: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(pulumi_home))

    monkeypatch.setattr(engine, "install", install)
    assert main(["engine", "--pulumi-home", "/of/another-user"]) == 1
    assert capsys.readouterr().err == "toolchain: /of/another-user: Permission denied\n"


@pytest.mark.parametrize("command", ["engine", "binaries", "images", "vm-image", "cloud-image", "packages", "prune"])
def test_help_lists_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as general:
        main(["--help"])
    assert re.search(rf"^ +{command}\b", capsys.readouterr().out, re.MULTILINE)
    with pytest.raises(SystemExit) as specific:
        main([command, "--help"])
    assert (general.value.code, specific.value.code) == (0, 0)


def test_prune_prints_names_and_freed_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(folder: Path) -> None:
        (folder / "program").write_bytes(b"x" * (3 << 20))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    long_ago = time.time() - UNUSED_AFTER - 1
    folders = [Cache().make(key(name), make).folder for name in ("one", "two")]
    for folder in folders:
        os.utime(folder, (long_ago, long_ago))
    assert main(["prune"]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [f"{folder.name} 3.0 MiB" for folder in folders]
    assert shown.err == "Removed 2 entries and freed 6.0 MiB.\n"
    assert main(["prune"]) == 0
    assert capsys.readouterr().err == "Nothing to remove: every entry was used in the last 30 days.\n"
