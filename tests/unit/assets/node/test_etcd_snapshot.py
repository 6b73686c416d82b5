"""The report of `assets/node/etcd-snapshot` on its last run, with a fake systemd."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install


@pytest.mark.parametrize(
    ("state", "ended", "started", "code"),
    [
        ("inactive", 0, 100, 0),
        ("inactive", 200, 100, 0),
        ("activating", 200, 100, 0),
        ("failed", 200, 100, 3),
        ("failed", 100, 200, 0),
    ],
    ids=["never ran", "succeeded", "runs again", "failed", "failed before the timer started"],
)
def test_a_failure_since_the_start_of_the_timer_is_reported(
    programs: Path, state: str, ended: int, started: int, code: int
) -> None:
    put(
        programs,
        "systemctl",
        f"""case "$*" in
  *ActiveState*etcd-snapshots.service) echo {state} ;;
  *InactiveEnter*etcd-snapshots.service) echo {ended} ;;
  *ActiveEnter*etcd-snapshots.timer) echo {started} ;;
esac""",
    )
    put(programs, "journalctl", "echo The disk is full.")
    program = install(programs / "installed") / "etcd-snapshot"
    result = subprocess.run([program, "healthy"], check=False, capture_output=True, text=True)
    assert result.returncode == code, result.stderr
    assert result.stdout == ("the last snapshot of etcd failed: The disk is full.\n" if code else "")


def test_a_node_without_snapshots_lists_none(tmp_path: Path) -> None:
    program = install(tmp_path / "installed", ETCD_SNAPSHOTS=str(tmp_path / "missing")) / "etcd-snapshot"
    result = subprocess.run([program, "list"], check=True, capture_output=True, text=True)
    assert result.stdout == ""
