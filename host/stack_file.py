"""Keeps the engine's salt (`encryptionsalt:` in a stack file) out of Git, and the file as people wrote it.

The salt belongs to the passphrase of one checkout. The engine looks for it in the stack file and puts it back whenever
it is missing, so it can't live elsewhere (pulumi/pkg/v3, cmd/pulumi/config/io.go, getAndSaveSecretsManager).
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SALT = "encryptionsalt:"
_FILTER = {"clean": f"sed '/^{_SALT}/d'", "smudge": "cat"}


def set_up_filter(checkout: Path) -> bool:
    """Makes Git leave the salt out, in this checkout's own configuration; says whether it had to.

    .gitattributes names the files. Nothing is done where `checkout` is not the top of a Git checkout.
    """
    if not (checkout / ".git").exists():
        return False
    changed = False
    for name, command in _FILTER.items():
        git = ["git", "-C", str(checkout), "config", "--local"]
        key = f"filter.hardway-stack.{name}"
        current = subprocess.run([*git, "--get", key], capture_output=True, text=True, check=False).stdout.rstrip("\n")
        if current != command:
            subprocess.run([*git, key, command], check=True)
            changed = True
    return changed


@contextlib.contextmanager
def text_kept(stack_file: Path) -> Iterator[None]:
    """Keeps the file's text as it is, but for the salt, over a step in which the engine may write it.

    The engine writes the whole file in its own form, without the blank lines that people put there.
    """
    before = stack_file.read_text() if stack_file.exists() else None
    yield
    if before is None or not stack_file.exists():
        return
    salt = [line for line in stack_file.read_text().splitlines() if line.startswith(_SALT)]
    kept = [line for line in before.splitlines() if not line.startswith(_SALT)]
    after = "\n".join([*kept, *salt]) + "\n"
    if after != stack_file.read_text():
        draft = stack_file.with_name(f".{stack_file.name}.new")
        draft.write_text(after)
        draft.replace(stack_file)
