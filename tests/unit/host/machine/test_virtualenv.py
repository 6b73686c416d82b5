"""Virtual environments are created once and recreated when their inputs change."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from host.machine import virtualenv
from system.errors import HostError


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """Return requirements that need no download."""
    path = tmp_path / "requirements.txt"
    path.write_text("# nothing\n")
    return path


def test_an_environment_is_created_once(tmp_path: Path, requirements: Path) -> None:
    assert virtualenv.ensure(tmp_path / "venv", requirements)
    assert (tmp_path / "venv/bin/python").exists()
    assert not virtualenv.ensure(tmp_path / "venv", requirements)


def test_changed_requirements_recreate_the_environment(tmp_path: Path, requirements: Path) -> None:
    virtualenv.ensure(tmp_path / "venv", requirements)
    (tmp_path / "venv/left-over").touch()
    requirements.write_text("# nothing else\n")
    assert virtualenv.ensure(tmp_path / "venv", requirements)
    assert not (tmp_path / "venv/left-over").exists()


def test_a_moved_checkout_recreates_the_environment(tmp_path: Path, requirements: Path) -> None:
    virtualenv.ensure(tmp_path / "venv", requirements)
    (tmp_path / "venv").rename(tmp_path / "moved")
    assert virtualenv.ensure(tmp_path / "moved", requirements)


def test_a_failed_installation_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, requirements: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    requirements.write_text("pip==0 --hash=sha256:" + "0" * 64 + "\n")
    for _ in range(2):
        with pytest.raises(HostError, match=r"(?s)pip.*install.*failed"):
            virtualenv.ensure(tmp_path / "venv", requirements)


def test_packages_of_an_environment_become_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = tmp_path / "lib" / version / "site-packages"
    packages.mkdir(parents=True)
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", list(before))
    for _ in range(2):
        virtualenv.make_importable(tmp_path)
    virtualenv.make_importable(tmp_path / "missing")
    assert sys.path == [*before, str(packages)]
