"""A virtual environment is made once for what it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.machine import virtualenv
from system.errors import HostError


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """Requirements that need nothing fetched."""
    path = tmp_path / "requirements.txt"
    path.write_text("# nothing\n")
    return path


def test_it_is_made_once(tmp_path: Path, requirements: Path) -> None:
    assert virtualenv.ensure(tmp_path / "venv", requirements)
    assert (tmp_path / "venv/bin/python").exists()
    assert not virtualenv.ensure(tmp_path / "venv", requirements)


def test_it_is_made_anew_when_the_requirements_change(tmp_path: Path, requirements: Path) -> None:
    virtualenv.ensure(tmp_path / "venv", requirements)
    (tmp_path / "venv/left-over").touch()
    requirements.write_text("# nothing else\n")
    assert virtualenv.ensure(tmp_path / "venv", requirements)
    assert not (tmp_path / "venv/left-over").exists()


def test_it_is_made_anew_where_the_checkout_was_moved(tmp_path: Path, requirements: Path) -> None:
    virtualenv.ensure(tmp_path / "venv", requirements)
    (tmp_path / "venv").rename(tmp_path / "moved")
    assert virtualenv.ensure(tmp_path / "moved", requirements)


def test_a_package_that_cannot_be_had_is_an_error_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, requirements: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    requirements.write_text("pip==0 --hash=sha256:" + "0" * 64 + "\n")
    for _ in range(2):
        with pytest.raises(HostError, match=r"(?s)pip.*install.*failed"):
            virtualenv.ensure(tmp_path / "venv", requirements)
