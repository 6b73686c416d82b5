"""Shell programs that stand for those that are called."""

from pathlib import Path


def put(programs: Path, name: str, body: str) -> None:
    """Puts a shell program where it is found."""
    (programs / name).write_text(f"#!/bin/sh\n{body}\n")
    (programs / name).chmod(0o755)
