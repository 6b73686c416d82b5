"""What the command line tells people."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_a_file_that_cannot_be_used_is_named_with_the_reason_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "host", "settle", str(tmp_path), "/bin/true"]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"hardway: {tmp_path}/.lab/state/.settling: No such file or directory\n"
