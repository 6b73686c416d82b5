"""Virtual environments made of pinned requirements, and made anew when these change."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from system.errors import HostError

_STAMP = "made-of"

# Not by way of an environment that this one may be called from, and may be about to make anew.
_PYTHON = Path(sys.executable).resolve()


def ensure(folder: Path, requirements: Path) -> bool:
    """Makes `folder` a virtual environment with what `requirements` lists (with hashes); says whether it had to.

    The folder is made anew where the requirements, the interpreter or the folder's own place are not those it was made
    of, or where making it was interrupted. Raises HostError where pip fails.
    """
    key = _key(folder, requirements)
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text() == key and (folder / "bin/python").exists():
        return False
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([str(_PYTHON), "-m", "venv", str(folder)])
    pip = [str(folder / "bin/python"), "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    _run([*pip, "install", "--require-hashes", "--requirement", str(requirements)])
    stamp.write_text(key)
    return True


def _key(folder: Path, requirements: Path) -> str:
    """What the environment is made of. Its own place counts: the programs in it name their interpreter by full path."""
    parts = (requirements.read_bytes(), os.fsencode(folder.resolve()), sys.version.encode(), os.fsencode(_PYTHON))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _run(command: list[str]) -> None:
    result = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if result.returncode != 0:
        raise HostError(f"{' '.join(command)} failed:\n{result.stdout.strip()}")
