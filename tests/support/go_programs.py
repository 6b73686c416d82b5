"""Programs that only tests need, built from Go modules and kept in the cache."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from system.files import CHECKOUT
from toolchain import golang
from toolchain.cache import Cache, key, sha256
from toolchain.release import ReleaseHosts

MODULES = CHECKOUT / "tests/support/go"
"""A Go module for each program. It pins the program's version."""


def build(name: str, package: str, files: Sequence[str] = ()) -> Path:
    """Return the path of a program, and build it first if the cache does not have it.

    Args:
        name: The name of the folder in MODULES, and of the program.
        package: The Go package of the program; `.` if the folder has it.
        files: Patterns of files of the package's module that the program needs. They are kept beside the program.
    """
    module = MODULES / name
    compiler = golang.compiler(Cache(), ReleaseHosts())

    def make(folder: Path) -> str:
        compiler.build(module, package, folder / name, title=name)
        if files:
            source = compiler.module_folder(module, package)
            for file in (path for pattern in files for path in source.glob(pattern)):
                target = folder / file.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                # Without the mode: Go's module cache is read-only.
                shutil.copyfile(file, target)
        return f"built from Go modules with Go {compiler.version}"

    made_from = [sha256(file) for pattern in ("go.*", "*.go") for file in sorted(module.glob(pattern))]
    return Cache().make(key(name, module=made_from, package=package, files=files), make).path(name)
