"""`assets/node/node-registration` with a fake kubectl."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fake_programs import put
from tests.support.kubectl_errors import LASTING, TRANSIENT
from tests.support.node_programs import install

POD_CIDR = "10.200.0.0/24"
REGISTERED = rf"printf '\n\n\n{POD_CIDR}\n\n'"
"""The answer about a Node that has its pod CIDR, and no labels, taints or token of the lab."""


def register(
    programs: Path,
    *arguments: str,
    answer: str = "echo node/node-0",
    program: str = "node-registration",
    drain: str = "true",
) -> tuple[int, list[str], str]:
    """Run the program. Return its exit code, the calls of kubectl that change something, and its error output.

    Args:
        programs: The folder of the fake programs.
        arguments: The arguments.
        answer: Shell that `kubectl get` runs.
        program: The name of the program.
        drain: Shell that `kubectl drain` runs.
    """
    log = programs / "log"
    log.touch()
    change = f'echo "$*" >>{log}; if [ "$1" = drain ]; then {drain}; fi'
    put(programs, "kubectl", f'if [ "$1" = get ]; then {answer}; else {change}; fi')
    node = install(programs / "node", DRAIN_LIMITS=str(programs / "limits"), ETCD_MEMBERS=str(programs / "members"))
    result = subprocess.run([node / program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    return result.returncode, log.read_text().splitlines(), result.stderr


@pytest.mark.parametrize(("role", "old"), [("worker", "control-plane"), ("control-plane", "worker")])
def test_joining_node_has_only_its_new_role(programs: Path, role: str, old: str) -> None:
    code, changes, _ = register(programs, "join", "node-0", role, "", "", POD_CIDR, answer=REGISTERED)
    assert code == 0
    assert changes == [f"label --overwrite node node-0 node-role.kubernetes.io/{role}= node-role.kubernetes.io/{old}-"]


def test_node_of_a_joining_lab_is_marked(programs: Path) -> None:
    arguments = ("--kubeconfig-from-stdin", "join", "guest-0", "worker", "", "", POD_CIDR)
    code, changes, _ = register(programs, *arguments, answer=REGISTERED)
    assert (code, changes[-1]) == (0, "annotate --overwrite node guest-0 hardway.dev/joined=true")
    (programs / "members").touch()
    (programs / "log").unlink()
    _, changes, _ = register(programs, *arguments, answer=REGISTERED)
    assert not any("joined" in change for change in changes)


def test_leaving_node_is_drained_and_deleted(programs: Path) -> None:
    code, changes, _ = register(programs, "leave", "node-0", "30")
    assert code == 0
    assert [change.split()[:2] for change in changes] == [["cordon", "node-0"], ["drain", "node-0"], ["delete", "node"]]


def test_drained_node_is_marked_and_then_released(programs: Path) -> None:
    code, changes, _ = register(programs, "drain", "node-0", "30", "300", "fail", answer='printf "node-0 "')
    assert code == 0
    assert changes[:2] == ["annotate --overwrite node node-0 hardway.dev/drained=true", "cordon node-0"]
    assert changes[2].startswith("drain node-0 ")
    assert changes[2].endswith("--grace-period 30 --timeout 300s")
    (programs / "log").unlink()
    code, changes, _ = register(programs, "uncordon", "node-0", answer="printf true")
    assert (code, changes) == (0, ["uncordon node-0", "annotate node node-0 hardway.dev/drained-"])


def test_node_that_somebody_cordoned_stays_cordoned(programs: Path) -> None:
    _, changes, _ = register(programs, "drain", "node-0", "30", "300", "fail", answer='printf "node-0 true"')
    assert [change.split()[0] for change in changes] == ["cordon", "drain"]
    (programs / "log").unlink()
    assert register(programs, "uncordon", "node-0", answer=":") == (0, [], "")


def test_missing_node_needs_no_drain(programs: Path) -> None:
    assert register(programs, "drain", "node-0", "30", "300", "fail", answer=":") == (0, [], "")


REFUSED = (
    'case "$*" in *Ready*) printf True ;; *unschedulable*) printf "node-0 " ;; *drained*) printf true ;; '
    "*) echo node/node-0 ;; esac",
    "error when evicting pods: Cannot evict pod as it would violate the pod's disruption budget.",
)


@pytest.mark.parametrize("verb", ["drain", "leave"])
def test_pod_that_stays_keeps_the_node(programs: Path, verb: str) -> None:
    put(programs, "refuse", f'echo "{REFUSED[1]}" >&2; exit 1')
    limits = ["30", "300", "fail"] if verb == "drain" else []
    code, changes, error = register(programs, verb, "node-0", *limits, answer=REFUSED[0], drain="refuse")
    assert code == 1
    assert "disruption budget" in error
    assert "node-0 was not drained within 300 s." in error
    assert "hardway:drainTimeoutAction" in error
    assert [change.split()[0] for change in changes] == ["annotate", "cordon", "drain", "uncordon", "annotate"]


def test_node_can_leave_although_a_pod_stays(programs: Path) -> None:
    put(programs, "refuse", f'echo "{REFUSED[1]}" >&2; exit 1')
    (programs / "limits").write_text("30 300 continue\n")
    code, changes, error = register(programs, "leave", "node-0", answer=REFUSED[0], drain="refuse")
    assert code == 0
    assert "node-0 is changed or removed nevertheless." in error
    assert [change.split()[0] for change in changes] == ["annotate", "cordon", "drain", "delete"]


def test_dead_node_can_leave_although_its_pods_never_end(programs: Path) -> None:
    put(programs, "refuse", f'echo "{REFUSED[1]}" >&2; exit 1')
    answer = REFUSED[0].replace("printf True", "printf Unknown")
    code, changes, _ = register(programs, "leave", "node-0", answer=answer, drain="refuse")
    assert code == 0
    assert "--timeout 60s" in changes[2]
    assert changes[-1] == "delete node node-0"


def test_joining_ends_an_interrupted_drain(programs: Path) -> None:
    answer = rf"printf '\n\n\n{POD_CIDR}\ntrue\n'"
    _, changes, _ = register(programs, "join", "node-0", "worker", "", "", POD_CIDR, answer=answer)
    assert changes[1:] == ["uncordon node-0", "annotate node node-0 hardway.dev/drained-"]


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
        programs, "join", "node-0", "worker", "", "", POD_CIDR, answer=rf"{slow}; printf '\n\n\n{POD_CIDR}\n\n'"
    )
    assert (code, error) == (0, "")
    assert len(changes) == 1


def test_silent_api_server_is_not_tried_for_ever(programs: Path) -> None:
    # Without seconds left, a passing error is the last one.
    program = install(programs / "node") / "node-registration"
    program.write_text(program.read_text().replace("timeout=300", "timeout=0"))
    put(programs, "kubectl", "echo memcache >&2; echo Unable to connect to the server: no route >&2; exit 1")
    result = subprocess.run(
        [str(program), "uncordon", "node-0"], capture_output=True, text=True, check=False, timeout=60
    )
    expected = "The API server did not answer within 0 s: Unable to connect to the server: no route\n"
    assert (result.returncode, result.stderr) == (1, expected)


@pytest.mark.parametrize("error", TRANSIENT)
def test_transient_error_is_repeated(programs: Path, error: str) -> None:
    put(programs, "sleep", "")
    put(programs, "fail", f"mkdir {programs}/called 2>/dev/null || exit 0; cat {programs}/error >&2; exit 1")
    (programs / "error").write_text(f"{error}\n")
    code, changes, _ = register(
        programs, "join", "node-0", "worker", "", "", POD_CIDR, answer=f"fail || exit 1; {REGISTERED}"
    )
    assert (code, len(changes)) == (0, 1)


@pytest.mark.parametrize("error", LASTING)
def test_other_error_is_not_repeated(programs: Path, error: str) -> None:
    put(programs, "sleep", "exit 1")
    (programs / "error").write_text(f"{error}\n")
    answer = f"cat {programs}/error >&2; exit 1"
    code, _, printed = register(programs, "join", "node-0", "worker", "", "", POD_CIDR, answer=answer)
    assert (code, printed) == (1, f"{error}\n")


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
    code, changes, _ = register(programs, "join", "node-0", "worker", "", "", POD_CIDR, answer=r"printf '\n\n\n\n\n'")
    assert code == 0
    assert changes[1:] == [
        f'patch node node-0 --patch {{"spec": {{"podCIDR": "{POD_CIDR}", "podCIDRs": ["{POD_CIDR}"]}}}}'
    ]


@pytest.mark.parametrize("is_control_plane", [True, False])
def test_only_another_cluster_may_assign_pod_cidrs(programs: Path, is_control_plane: bool) -> None:
    if is_control_plane:
        (programs / "members").touch()
    arguments = ("--kubeconfig-from-stdin", "join", "node-0", "worker", "", "", "10.200.7.0/24")
    code, _, error = register(programs, *arguments, answer=REGISTERED)
    assert (code, "is registered with pod CIDR" in error) == (int(is_control_plane), is_control_plane)


def test_missing_kubectl_is_no_silent_api_server(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bash", "mktemp", "rm", "uname"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(programs))
    program = install(programs / "node") / "node-registration"
    result = subprocess.run([program, "leave", "node-0"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("kubectl is missing on ")


def test_another_pod_cidr_is_an_error(programs: Path) -> None:
    code, changes, error = register(programs, "join", "node-0", "worker", "", "", "10.200.7.0/24", answer=REGISTERED)
    assert (code, len(changes)) == (1, 1)
    assert "node-0 is registered with pod CIDR 10.200.0.0/24" in error
    assert "kubectl delete node node-0" in error
