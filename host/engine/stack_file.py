"""Keep the engine's salt (`encryptionsalt:` in a stack file) out of Git, and the file's text as people wrote it.

The salt belongs to the passphrase of one checkout, or of those that share a backend. The engine looks for it in the
stack file and writes it there if it is missing, so it cannot be elsewhere (pulumi/pkg/v3, cmd/pulumi/config/io.go,
getAndSaveSecretsManager).
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from system import console
from system.commands import attempt, quote
from system.files import write_atomically

_SALT = "encryptionsalt:"
_FILTER = {"clean": f"sed '/^{_SALT}/d'", "smudge": "cat"}


def set_up_filter(checkout: Path) -> bool:
    """Configure Git to leave the salt out, only in this checkout. `.gitattributes` names the files.

    Does nothing if `checkout` is not the top folder of a Git checkout. If there is no Git, or it refuses, only prints
    the reason, because the lab works without Git.

    Returns:
        True if the configuration was changed.
    """
    if not (checkout / ".git").exists():
        return False
    changed = False
    try:
        # Unlike the other commands, this one prints the reason if Git refuses.
        refused = _git(checkout, "rev-parse")
        if refused.returncode != 0:
            console.note(f"Git refuses to keep the salts of stack files out of commits:\n{quote(refused)}")
            return False
        for name, command in _FILTER.items():
            key = f"filter.hardway-stack.{name}"
            if _git(checkout, "config", "--local", "--get", key).stdout.rstrip("\n") != command:
                result = _git(checkout, "config", "--local", key, command)
                if result.returncode != 0:
                    console.note(f"Git refuses to keep the salts of stack files out of commits:\n{quote(result)}")
                    return changed
                changed = True
    except FileNotFoundError:
        console.note("There is no Git to keep the salts of stack files out of commits.")
    return changed


def tell_git(stack_file: Path) -> None:
    """Make Git record the file's current size if only the salt differs.

    Git compares sizes first. Its status would otherwise list the file as changed although it finds no difference.
    """
    folder, name = stack_file.parent, stack_file.name
    with contextlib.suppress(FileNotFoundError):  # without Git there is no status
        if _git(folder, "ls-files", "--error-unmatch", name).returncode != 0:
            return
        if _git(folder, "diff", "--quiet", "--", name).returncode == 0:
            _git(folder, "update-index", "--", name)


def forget_salts(checkout: Path) -> None:
    """Remove the salt from every stack file without encrypted values. For a checkout whose passphrase is gone.

    The engine refuses to create a stack with the salt of another passphrase, and creates a salt if there is none.
    """
    for file in checkout.glob("Pulumi.*.yaml"):
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(_SALT)]
        if kept != lines and not any("secure:" in line for line in kept):
            write_atomically(file, "".join(kept))
            tell_git(file)


def restore_salts(checkout: Path, states: Path) -> None:
    """Write the salt of each stack's state into its file if that has none, as after `git checkout`.

    Args:
        checkout: The checkout.
        states: The folder with the states of the project's stacks.
    """
    for state in states.glob("*.json"):
        file = checkout / f"Pulumi.{state.stem}.yaml"
        if not file.exists() or any(line.startswith(_SALT) for line in file.read_text().splitlines()):
            continue
        latest = json.loads(state.read_text()).get("checkpoint", {}).get("latest") or {}
        provider = latest.get("secrets_providers") or {}
        if salt := (provider.get("state") or {}).get("salt"):
            write_atomically(file, f"{file.read_text().rstrip()}\n{_SALT} {salt}\n")
            tell_git(file)


def with_salt(text: str, salt: str) -> str:
    """Return the text of a stack file with another salt. Empty for none."""
    kept = [line for line in text.splitlines() if not line.startswith(_SALT)]
    return "\n".join([*kept, *([f"{_SALT} {salt}"] if salt else [])]) + "\n"


def salt_of(text: str) -> str:
    """Return the salt in the text of a stack file. Empty if there is none."""
    lines = [line for line in text.splitlines() if line.startswith(_SALT)]
    return lines[0].removeprefix(_SALT).strip() if lines else ""


@contextlib.contextmanager
def text_kept(stack_file: Path) -> Iterator[None]:
    """Keep the file's text, except for the salt, while the engine may write it in the block.

    The engine writes the whole file in its own format, without blank lines.
    """
    before = stack_file.read_text() if stack_file.exists() else None
    yield
    if before is None or stack_file.read_text() == before:
        return
    write_atomically(stack_file, with_salt(before, salt_of(stack_file.read_text())))


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return attempt(["git", "-C", folder, *arguments])
