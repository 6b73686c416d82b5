"""How the lab's objects are brought into the cluster: `assets/node/apply-objects`, over a kubectl that can refuse."""

import subprocess
from pathlib import Path

import pytest

from lab.node.units import ASSETS
from tests.support.fake_programs import put

KUBECTL = """
case "$*" in
  *--force*--prune* | *--prune*--force*) echo "--force cannot be used with --prune"; exit 1 ;;
  *--force*) echo force >>{log}; rm -f {fixed} ;;
  *--prune*) echo prune >>{log}; test ! -e {fixed} ;;
esac
"""


def calls(programs: Path, *, fixed: bool) -> tuple[int, list[str]]:
    """Its exit code, and how kubectl was called. fixed: whether an object there cannot be changed, as an address."""
    log, there = programs / "log", programs / "fixed"
    if fixed:
        there.touch()
    put(programs, "kubectl", KUBECTL.format(log=log, fixed=there))
    result = subprocess.run([str(ASSETS / "node/apply-objects"), "/folder"], check=False, timeout=60)
    return result.returncode, log.read_text().split()


@pytest.mark.parametrize(("fixed", "expected"), [(False, ["prune"]), (True, ["prune", "force", "prune"])])
def test_only_what_cannot_be_changed_is_made_anew(programs: Path, fixed: bool, expected: list[str]) -> None:
    assert calls(programs, fixed=fixed) == (0, expected)
