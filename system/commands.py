"""Running other programs: quiet while they succeed, and quoted where they fail."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from system.errors import ToolchainError

LAST_LINES = 25
"""How much of a failed program's output its error shows."""


def run(
    arguments: Sequence[str | Path],
    *,
    why: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Runs a program to its end and returns what it wrote on standard output.

    why: what it is for, as the error says it. environment: what to set beside the present one.
    Raises ToolchainError where it can't be run or fails.
    """
    command = [str(argument) for argument in arguments]
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            input=stdin or "",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise ToolchainError(f"{why}: {command[0]} can't be run: {error.strerror}") from None
    if result.returncode != 0:
        output = "\n".join((result.stderr.strip() or result.stdout.strip()).splitlines()[-LAST_LINES:])
        raise ToolchainError(f"{why}: `{shlex.join(command)[:200]}` failed ({result.returncode}):\n{output}")
    return result.stdout


def as_root() -> list[str]:
    """What to put before a command that only root may run: nothing for root, else sudo.

    sudo asks for a password where somebody watches. Where nobody does, as in a run of Pulumi, which has the terminal to
    itself, raises ToolchainError if it would have to.
    """
    if os.geteuid() == 0:
        return []
    if sys.stderr.isatty():
        return ["sudo"]
    command = ["sudo", "--non-interactive"]
    try:
        run([*command, "true"], why="becoming root")
    except ToolchainError as error:
        raise ToolchainError(f"{error}\nThis step needs root. Run `sudo -v`, then the same again.") from None
    return command
