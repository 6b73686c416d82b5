"""Virtual environments from pinned requirements, recreated when these change."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path

from system.commands import run
from system.errors import HostError

_STAMP = "made-of"

# The interpreter itself, because this process may run in an environment that is about to be recreated.
_PYTHON = Path(sys.executable).resolve()


def ensure(folder: Path, requirements: Path) -> bool:
    """Make `folder` a virtual environment with the packages of a requirements file with hashes.

    An existing environment is recreated if the requirements, the interpreter or the folder's path differ, or if its
    creation was interrupted.

    Returns:
        True if the environment was created.

    Raises:
        HostError: venv or pip fails.
    """
    key = _key(folder, requirements)
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text() == key and (folder / "bin/python").exists():
        return False
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    why = f"creating the virtual environment {folder}"
    run([_PYTHON, "-m", "venv", folder], why=why, error=HostError)
    pip: list[str | Path] = [folder / "bin/python", "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    run([*pip, "install", "--require-hashes", "--requirement", requirements], why=why, error=HostError)
    stamp.write_text(key)
    return True


def make_importable(folder: Path) -> None:
    """Let this process import the packages of an environment, such as rich, if it has the same Python version.

    The machine's own packages take precedence.
    """
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    if packages.is_dir() and str(packages) not in sys.path:
        sys.path.append(str(packages))


def _key(folder: Path, requirements: Path) -> str:
    """Return a digest of everything that the environment depends on.

    The folder's path is part of it, because the environment's programs name their interpreter by full path.
    """
    parts = (requirements.read_bytes(), os.fsencode(folder.resolve()), sys.version.encode(), os.fsencode(_PYTHON))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
