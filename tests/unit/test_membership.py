"""What the administrator does for a node: what `assets/node/membership` asks kubectl for."""

import subprocess
from pathlib import Path

import pytest

from lab.units import ASSETS
from tests.unit.fake_programs import put


def membership(programs: Path, *arguments: str, answer: str = "echo node/node-0") -> tuple[int, list[str], str]:
    """Runs it. Returns its exit code, the calls of kubectl that change something, and what it says of what is wrong.

    answer: shell that kubectl is where it is asked for the node.
    """
    log = programs / "log"
    log.touch()
    put(programs, "kubectl", f'if [ "$1" = get ]; then {answer}; else echo "$*" >>{log}; fi')
    result = subprocess.run(
        [str(ASSETS / "node/membership"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    return result.returncode, log.read_text().splitlines(), result.stderr


@pytest.mark.parametrize(("role", "former"), [("worker", "control-plane"), ("control-plane", "worker")])
def test_a_node_that_joins_has_one_role_whichever_it_had(programs: Path, role: str, former: str) -> None:
    code, changes, _ = membership(programs, "join", "node-0", role, "", "", answer=r"printf '\n\n\n'")
    assert code == 0
    assert changes == [
        f"label --overwrite node node-0 node-role.kubernetes.io/{role}= node-role.kubernetes.io/{former}-"
    ]
