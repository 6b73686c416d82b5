"""`assets/node/hold-pods` with fake programs."""

import os
import subprocess
from pathlib import Path

import pytest

from system.files import CHECKOUT
from tests.support.fake_programs import put

NEVER, EARLIER = "0", "23000000"


def loaded(folder: Path, *, kubelet: str, has_table: bool) -> str:
    """Run the program, and return the arguments by which it loads rules. Empty if it loads none.

    Args:
        folder: An empty folder.
        kubelet: The time since boot at which the kubelet started last.
        has_table: True if the table of the service exists.
    """
    put(folder, "systemctl", f"echo {kubelet}")
    exists = "exit 0" if has_table else "exit 1"
    put(folder, "nft", f'case $1 in list) {exists} ;; *) echo "$*" ;; esac')
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    program = str(CHECKOUT / "assets/node/hold-pods")
    return subprocess.run([program, "boot.nft"], env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("kubelet", "has_table", "rules"),
    [(NEVER, False, "--file boot.nft\n"), (NEVER, True, ""), (EARLIER, False, "")],
    ids=["boot", "restart before the kubelet started", "pods may run"],
)
def test_pods_are_held_only_at_boot(kubelet: str, has_table: bool, rules: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, kubelet=kubelet, has_table=has_table) == rules
