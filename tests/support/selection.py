"""The selection of tests that a run keeps."""

from collections.abc import Container, Sequence
from pathlib import Path

import pytest


def file_name(item: pytest.Item) -> str:
    """Return the name of a test's file without `test_`."""
    return item.path.stem.removeprefix("test_")


def named(option: str, value: str, choices: Sequence[str]) -> list[str]:
    """Return the names that an option has, in the order of the choices.

    Args:
        option: The option, for the error.
        value: Names separated by commas.
        choices: The names that the option may have.

    Raises:
        pytest.UsageError: A name is not one of the choices.
    """
    names = value.split(",")
    if unknown := [name for name in names if name not in choices]:
        raise pytest.UsageError(f"{option} cannot be {', '.join(unknown)}. It can be: {', '.join(choices)}.")
    return [name for name in choices if name in names]


def keep_files(config: pytest.Config, items: list[pytest.Item], folder: Path, names: Container[str]) -> None:
    """Deselect the tests of a folder, except those of the files with the given names.

    Args:
        config: The configuration of pytest.
        items: The collected tests, which this function changes. Tests of other folders stay.
        folder: The folder.
        names: The names of files as `file_name` returns them.
    """
    deselect(config, items, [item for item in items if item.path.parent == folder and file_name(item) not in names])


def deselect(config: pytest.Config, items: list[pytest.Item], excluded: list[pytest.Item]) -> None:
    """Remove tests from the collected ones, and report them to pytest as deselected."""
    removed = set(excluded)
    items[:] = [item for item in items if item not in removed]
    config.hook.pytest_deselected(items=excluded)
