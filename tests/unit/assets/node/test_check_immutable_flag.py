"""`assets/node/check-immutable-flag` with the unit file of a server."""

import os
import subprocess
from pathlib import Path

import pytest

from lab.node.units import ASSETS

UNIT = "ExecStart=/bin/server \\\n  --other-range=1 \\\n  --range={value}{end}\n"


def check(folder: Path, current: str | None, staged: str | None) -> tuple[int, str]:
    """Return the exit code and output for values of the flag; None stands for a missing file."""
    file, stage = folder / "unit", folder / "staged"
    for path, value in ((file, current), (Path(f"{stage}{file}"), staged)):
        if value is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(UNIT.format(value=value, end=" \\\n  --v=2"))
    command = [str(ASSETS / "node/check-immutable-flag"), "range", str(file)]
    result = subprocess.run(
        command, env=os.environ | {"STAGED": str(stage)}, capture_output=True, text=True, check=False
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("current", "staged"),
    [(None, "10.0.0.0/24"), ("10.0.0.0/24", "10.0.0.0/24"), ("10.0.0.0/24", None)],
    ids=["first", "same", "another file changes"],
)
def test_first_and_equal_values_are_accepted(tmp_path: Path, current: str | None, staged: str | None) -> None:
    assert check(tmp_path, current, staged) == (0, "")


def test_another_value_is_refused(tmp_path: Path) -> None:
    code, output = check(tmp_path, "10.0.0.0/24", "10.1.0.0/24")
    assert code == 1
    assert "--range is 10.0.0.0/24 and cannot become 10.1.0.0/24 while this cluster exists" in output


@pytest.mark.parametrize(
    ("before", "after", "accepted"),
    [
        ("", " --etcd-prefix=/registry", True),
        (" --etcd-prefix=lab", " --etcd-prefix=/lab", True),
        ("", " --etcd-prefix=/lab", False),
        (" --etcd-prefix=/lab", "", False),
    ],
)
def test_another_path_in_etcd_is_refused(tmp_path: Path, before: str, after: str, accepted: bool) -> None:
    code, output = check(tmp_path, f"10.0.0.0/24 \\\n {before}", f"10.0.0.0/24 \\\n {after}")
    assert (code == 0) is accepted
    assert ("--etcd-prefix is /" in output) is not accepted
