"""`assets/node/apply-objects` with a fake kubectl that can refuse an object."""

import subprocess
from pathlib import Path

import pytest

from lab.node.units import ASSETS
from tests.support.fake_programs import put

KUBECTL = """
case "$*" in
  *--force*--prune* | *--prune*--force*) echo "--force cannot be used with --prune"; exit 1 ;;
  *--force*) echo force >>{log}; rm -f {immutable} ;;
  *--prune*) echo prune >>{log}; test ! -e {immutable} ;;
esac
"""


def apply(programs: Path, *, immutable: bool) -> tuple[int, list[str]]:
    """Return the exit code and the calls of kubectl.

    Args:
        programs: The folder of the fake programs.
        immutable: True if the cluster has an object that cannot be changed to the new one.
    """
    log, marker = programs / "log", programs / "immutable"
    if immutable:
        marker.touch()
    put(programs, "kubectl", KUBECTL.format(log=log, immutable=marker))
    result = subprocess.run([str(ASSETS / "node/apply-objects"), "/folder"], check=False, timeout=60)
    return result.returncode, log.read_text().split()


@pytest.mark.parametrize(("immutable", "expected"), [(False, ["prune"]), (True, ["prune", "force", "prune"])])
def test_only_immutable_objects_are_recreated(programs: Path, immutable: bool, expected: list[str]) -> None:
    assert apply(programs, immutable=immutable) == (0, expected)
