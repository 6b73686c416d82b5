"""`assets/node/node-registration` with a fake kubectl."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install

POD_CIDR = "10.200.0.0/24"
REGISTERED = rf"printf '\n\n\n{POD_CIDR}\n'"
"""The answer about a Node that has its pod CIDR, and no labels, taints or token of the lab."""


def register(
    programs: Path, *arguments: str, answer: str = "echo node/node-0", program: str = "node-registration"
) -> tuple[int, list[str], str]:
    """Run the program. Return its exit code, the calls of kubectl that change something, and its error output.

    Args:
        programs: The folder of the fake programs.
        arguments: The arguments.
        answer: Shell that `kubectl get` runs.
    """
    log = programs / "log"
    log.touch()
    put(programs, "kubectl", f'if [ "$1" = get ]; then {answer}; else echo "$*" >>{log}; fi')
    result = subprocess.run(
        [str(install(programs / "node") / program), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    return result.returncode, log.read_text().splitlines(), result.stderr


@pytest.mark.parametrize(("role", "old"), [("worker", "control-plane"), ("control-plane", "worker")])
def test_joining_node_has_only_its_new_role(programs: Path, role: str, old: str) -> None:
    code, changes, _ = register(programs, "join", "node-0", role, "", "", POD_CIDR, answer=REGISTERED)
    assert code == 0
    assert changes == [f"label --overwrite node node-0 node-role.kubernetes.io/{role}= node-role.kubernetes.io/{old}-"]


def test_leaving_node_is_drained_and_deleted(programs: Path) -> None:
    code, changes, _ = register(programs, "leave", "node-0", "30")
    assert code == 0
    assert [change.split()[:2] for change in changes] == [["cordon", "node-0"], ["drain", "node-0"], ["delete", "node"]]


def test_missing_node_needs_no_leave(programs: Path) -> None:
    assert register(programs, "leave", "node-0", "30", answer=":") == (0, [], "")


def test_unreachable_api_server_is_an_error(programs: Path) -> None:
    code, changes, error = register(programs, "leave", "node-0", "30", answer="echo no route >&2; exit 1")
    assert (code, changes) == (1, [])
    assert "no route" in error
    assert "node-0 was not removed from its cluster" in error
    assert "the URN of node-0-registration" in error


def test_slow_api_server_is_tried_again(programs: Path) -> None:
    put(programs, "sleep", ":")
    slow = f'[ -e {programs}/run ] || {{ touch {programs}/run; echo "net/http: TLS handshake timeout" >&2; exit 1; }}'
    code, changes, error = register(
        programs, "join", "node-0", "worker", "", "", POD_CIDR, answer=rf"{slow}; printf '\n\n\n{POD_CIDR}\n'"
    )
    assert (code, error) == (0, "")
    assert len(changes) == 1


def test_refused_request_is_not_repeated(programs: Path) -> None:
    put(programs, "sleep", "exit 1")
    code, _, error = register(
        programs, "join", "node-0", "worker", "", "", POD_CIDR, answer="echo forbidden >&2; exit 1"
    )
    assert code == 1
    assert error == "forbidden\n"


def test_former_name_of_the_program_still_works(programs: Path) -> None:
    code, changes, _ = register(programs, "leave", "node-0", "30", program="membership")
    assert code == 0
    assert len(changes) == 3


@pytest.mark.parametrize("updated", [False, True])
def test_kubeconfig_of_a_node_before_its_update_is_used(programs: Path, updated: bool) -> None:
    root = programs / "root"
    (root / "run").mkdir(parents=True)
    old, new = root / "var/lib/cluster-objects/kubeconfig", root / "var/lib/addons/kubeconfig"
    for path in (old, new) if updated else (old,):
        path.parent.mkdir(parents=True)
        path.touch()
    put(programs, "kubectl", 'echo "$KUBECONFIG"')
    program = install(programs / "node", root=root) / "node-registration"
    result = subprocess.run([program, "leave", "node-0", "30"], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {str(new if updated else old)}


def test_pod_cidr_is_set_where_it_is_missing(programs: Path) -> None:
    code, changes, _ = register(programs, "join", "node-0", "worker", "", "", POD_CIDR, answer=r"printf '\n\n\n\n'")
    assert code == 0
    assert changes[1:] == [
        f'patch node node-0 --patch {{"spec": {{"podCIDR": "{POD_CIDR}", "podCIDRs": ["{POD_CIDR}"]}}}}'
    ]


def test_another_pod_cidr_is_an_error(programs: Path) -> None:
    code, changes, error = register(programs, "join", "node-0", "worker", "", "", "10.200.7.0/24", answer=REGISTERED)
    assert (code, len(changes)) == (1, 1)
    assert "node-0 is registered with pod CIDR 10.200.0.0/24" in error
    assert "kubectl delete node node-0" in error
