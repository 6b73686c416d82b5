"""Whether a configuration is read in full: what `assets/node/reads-all` makes of what a program says of it."""

import subprocess

import pytest

from lab.node.units import ASSETS


def reads(program: str) -> tuple[int, str]:
    """Its exit code and what it says of a program, given as shell."""
    result = subprocess.run(
        [ASSETS / "node/reads-all", "pass over|skip", "sh", "-c", program], capture_output=True, text=True, check=False
    )
    return result.returncode, result.stdout


def test_a_program_that_has_read_it_all_is_right() -> None:
    assert reads("echo all read; echo no trouble >&2") == (0, "")


@pytest.mark.parametrize("stream", [1, 2])
def test_what_it_passes_over_is_wrong_and_said(stream: int) -> None:
    assert reads(f"echo first; echo I pass over modee >&{stream}") == (1, "I pass over modee\n")


def test_a_program_that_fails_says_why() -> None:
    assert reads("seq 9; echo broken >&2; exit 4") == (1, "6\n7\n8\n9\nbroken\n")
