"""Command line of the generator: python3 -m dev.fields.

It needs Go and the sources of the Go modules in toolchain/node, and compiles no program of theirs.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from dev.fields.tables import Answer, Question, questions, table
from lab.config.fields.tables import FOLDER
from lab.versions import go, minor, node_sources
from toolchain.binaries import MODULES
from toolchain.golang import Compiler, installed

PROGRAM = Path(__file__).with_name("fields.go")


def main() -> int:
    """Write the tables of all versions in lab/versions.toml."""
    compiler = installed(go().minimum)
    if compiler is None:
        print(f"Go {go().minimum} or newer is needed.", file=sys.stderr)
        return 1
    answers: dict[str, dict[str, list[Answer]]] = {}
    for source in node_sources().values():
        for version in source.versions:
            asked = questions(source.name, minor(version))
            if asked:
                print(f"{source.name} {version}")
                for name, found in ask(compiler, module_folder(source.name, version), asked).items():
                    answers.setdefault(name, {})[version] = found
    for name, versions in answers.items():
        (FOLDER / f"{name}.txt").write_text(table(name, versions), encoding="utf-8")
    return 0


def module_folder(source: str, version: str) -> Path:
    """Return the folder of the Go module that pins a version of a project."""
    folder = MODULES / source / version
    return folder if folder.is_dir() else folder.parent


def ask(compiler: Compiler, module: Path, asked: Sequence[Question]) -> Mapping[str, list[Answer]]:
    """Return the answers to questions about the programs of a Go module, by table."""
    environment = {"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    fields = "-json=ImportPath,Dir,GoFiles,Imports,ImportMap"
    packages = _run(
        [compiler.program, "list", "-deps", fields, *sorted({one.package for one in asked})], module, environment
    )
    lines = _run(
        [compiler.program, "run", PROGRAM, *(one.text for one in asked)], PROGRAM.parent, environment, packages
    )
    answers: dict[str, list[Answer]] = {one.table: [] for one in asked}
    for line in lines.splitlines():
        text, path, kind = line.split("\t")
        for one in asked:
            if one.text == text:
                answers[one.table].append(Answer(one.prefix + path, kind))
    return answers


def _run(command: Iterable[str | Path], folder: Path, environment: Mapping[str, str], stdin: str = "") -> str:
    return subprocess.run(
        list(command),
        cwd=folder,
        env={**os.environ, **environment},
        input=stdin,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
