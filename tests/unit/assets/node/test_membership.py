"""What the administrator does for a node: what `assets/node/membership` asks kubectl for."""

import subprocess
from pathlib import Path

import pytest

from lab.node.units import ASSETS
from tests.support.fake_programs import put


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


def test_a_node_that_leaves_is_drained_and_deleted(programs: Path) -> None:
    code, changes, _ = membership(programs, "leave", "node-0", "30")
    assert code == 0
    assert [change.split()[:2] for change in changes] == [["cordon", "node-0"], ["drain", "node-0"], ["delete", "node"]]


def test_a_node_that_is_gone_already_needs_no_leave(programs: Path) -> None:
    assert membership(programs, "leave", "node-0", "30", answer=":") == (0, [], "")


def test_a_node_does_not_count_as_gone_where_nobody_answers(programs: Path) -> None:
    code, changes, error = membership(programs, "leave", "node-0", "30", answer="echo no route >&2; exit 1")
    assert (code, changes) == (1, [])
    assert "no route" in error
    assert "node-0 was not taken out of its cluster" in error


def test_an_api_server_that_is_only_slow_is_asked_again(programs: Path) -> None:
    put(programs, "sleep", ":")
    slow = (
        f'[ -e {programs}/asked ] || {{ touch {programs}/asked; echo "net/http: TLS handshake timeout" >&2; exit 1; }}'
    )
    code, changes, error = membership(programs, "join", "node-0", "worker", "", "", answer=rf"{slow}; printf '\n\n\n'")
    assert (code, error) == (0, "")
    assert len(changes) == 1


def test_what_an_api_server_refuses_is_not_asked_for_again(programs: Path) -> None:
    put(programs, "sleep", "exit 1")
    code, _, error = membership(programs, "join", "node-0", "worker", "", "", answer="echo forbidden >&2; exit 1")
    assert code == 1
    assert error == "forbidden\n"
