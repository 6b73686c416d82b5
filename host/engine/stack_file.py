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

    .gitattributes names the files. Nothing is done where `checkout` is not the top of a Git checkout. Where there is no
    Git or it refuses, the reason is printed: the lab works without.
    """
    if not (checkout / ".git").exists():
        return False
    changed = False
    try:
        _git(checkout, "rev-parse").check_returncode()  # which, unlike the others, says why it refuses
        for name, command in _FILTER.items():
            key = f"filter.hardway-stack.{name}"
            if _git(checkout, "config", "--local", "--get", key).stdout.rstrip("\n") != command:
                _git(checkout, "config", "--local", key, command).check_returncode()
                changed = True
    except FileNotFoundError:
        print("    there is no git to keep the salts of stack files out of commits")
    except subprocess.CalledProcessError as error:
        print(f"    git will not keep the salts of stack files out of commits:\n{error.stderr.strip()}")
    return changed


def tell_git(stack_file: Path) -> None:
    """Has Git note the file as it is now, where all that differs is the salt.

    Git looks at the size first, and its status would list the file as changed for ever although it finds no difference.
    """
    folder, name = stack_file.parent, stack_file.name
    with contextlib.suppress(FileNotFoundError):  # no Git, no status
        if _git(folder, "ls-files", "--error-unmatch", name).returncode != 0:
            return
        if _git(folder, "diff", "--quiet", "--", name).returncode == 0:
            _git(folder, "update-index", "--", name)


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)


def forget_salts(checkout: Path) -> None:
    """Takes the salt out of every stack file that holds no encrypted value: for when its passphrase is gone.

    The engine refuses to make a stack with the salt of another passphrase, and makes a new one where there is none.
    """
    for file in checkout.glob("Pulumi.*.yaml"):
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(_SALT)]
        if kept != lines and not any("secure:" in line for line in kept):
            _replace(file, "".join(kept))
            tell_git(file)


@contextlib.contextmanager
def text_kept(stack_file: Path) -> Iterator[None]:
    """Keeps the file's text as it is, but for the salt, over a step in which the engine may write it.

    The engine writes the whole file in its own form, without the blank lines that people put there.
    """
    before = stack_file.read_text() if stack_file.exists() else None
    yield
    if before is None or stack_file.read_text() == before:
        return
    salt = [line for line in stack_file.read_text().splitlines() if line.startswith(_SALT)]
    kept = [line for line in before.splitlines() if not line.startswith(_SALT)]
    _replace(stack_file, "\n".join([*kept, *salt]) + "\n")


def _replace(stack_file: Path, text: str) -> None:
    draft = stack_file.with_name(f".{stack_file.name}.new")
    draft.write_text(text)
    draft.replace(stack_file)
