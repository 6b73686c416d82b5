"""What holds for the life of a cluster is not changed under it: `assets/node/same-flag`."""

import os
import subprocess
from pathlib import Path

import pytest

from lab.node.units import ASSETS

UNIT = "ExecStart=/bin/server \\\n  --other-range=1 \\\n  --range={value}{end}\n"


def look(folder: Path, now: str | None, staged: str | None) -> tuple[int, str]:
    """Its exit code and what it prints, where the flag has these values in the file that is there and the next one."""
    file, stage = folder / "unit", folder / "staged"
    for place, value in ((file, now), (Path(f"{stage}{file}"), staged)):
        if value is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(UNIT.format(value=value, end=" \\\n  --v=2"))
    command = [str(ASSETS / "node/same-flag"), "range", str(file)]
    told = subprocess.run(command, env=os.environ | {"STAGED": str(stage)}, capture_output=True, text=True, check=False)
    return told.returncode, told.stdout + told.stderr


@pytest.mark.parametrize(
    ("now", "staged"),
    [(None, "10.0.0.0/24"), ("10.0.0.0/24", "10.0.0.0/24"), ("10.0.0.0/24", None)],
    ids=["first", "same", "another file changes"],
)
def test_the_first_value_and_the_same_one_pass(tmp_path: Path, now: str | None, staged: str | None) -> None:
    assert look(tmp_path, now, staged) == (0, "")


def test_another_value_is_refused_with_both(tmp_path: Path) -> None:
    code, said = look(tmp_path, "10.0.0.0/24", "10.1.0.0/24")
    assert code == 1
    assert "--range is 10.0.0.0/24 for as long as this cluster is there, and cannot become 10.1.0.0/24" in said
