"""`assets/node/check-config` with programs that accept, warn about or refuse their configuration."""

import subprocess

import pytest

from lab.node.units import ASSETS


def check(program: str) -> tuple[int, str]:
    """Return the exit code and output for a program, given as shell."""
    result = subprocess.run(
        [ASSETS / "node/check-config", "pass over|skip", "sh", "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout


def test_configuration_without_warnings_is_valid() -> None:
    assert check("echo all read; echo no trouble >&2") == (0, "")


@pytest.mark.parametrize("stream", [1, 2])
def test_ignored_field_is_invalid_and_printed(stream: int) -> None:
    assert check(f"echo first; echo I pass over modee >&{stream}") == (1, "I pass over modee\n")


def test_failure_prints_the_last_lines() -> None:
    assert check("seq 9; echo broken >&2; exit 4") == (1, "6\n7\n8\n9\nbroken\n")
