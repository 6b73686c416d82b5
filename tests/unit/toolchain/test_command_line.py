"""The toolchain's command line: what a person reads where something is wrong with the machine."""

import errno
import os
from pathlib import Path

import pytest

from toolchain import engine
from toolchain.__main__ import main


def test_a_fault_of_the_machine_is_told_in_a_line_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def install(pulumi_home: Path, *_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(pulumi_home))

    monkeypatch.setattr(engine, "install", install)
    assert main(["engine", "--pulumi-home", "/of/somebody"]) == 1
    assert capsys.readouterr().err == "toolchain: /of/somebody: Permission denied\n"
