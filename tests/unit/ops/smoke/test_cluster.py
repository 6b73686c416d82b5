"""How kubectl is called by `python3 -m ops.smoke`, and what its program in a pod prints."""

import os
import subprocess
from pathlib import Path

import pytest

from ops.clients import CommandError
from ops.smoke.cluster import Cluster
from ops.smoke.trial import FETCH
from tests.support.fake_programs import put

CLUSTER = Cluster(Path("/the/kubeconfig"), "the-namespace")


def test_kubectl_is_told_the_kubeconfig_and_the_namespace(programs: Path) -> None:
    put(programs, "kubectl", 'echo "$@"')
    assert CLUSTER.execute("a-pod", ["ls", "/"]).split() == [
        "--kubeconfig=/the/kubeconfig",
        "--namespace=the-namespace",
        *["exec", "a-pod", "--", "ls", "/"],
    ]
    assert "--namespace=the-namespace logs --selector=app=web --prefix --tail=-1" in CLUSTER.logs("web")


def test_what_is_made_goes_through_standard_input(programs: Path) -> None:
    put(programs, "kubectl", f"cat >{programs}/made")
    CLUSTER.create("kind: Namespace\n")
    assert (programs / "made").read_text() == "kind: Namespace\n"


def test_pods_and_services_are_listed(programs: Path) -> None:
    put(programs, "kubectl", """echo '{"items": [{"kind": "Pod"}]}'""")
    assert CLUSTER.pods_and_services() == [{"kind": "Pod"}]


@pytest.mark.parametrize(("printed", "there"), [("service/kube-dns", True), ("", False)])
def test_dns_is_there_where_its_service_is(programs: Path, printed: str, there: bool) -> None:
    put(programs, "kubectl", f"case $* in *--namespace=kube-system*) echo {printed} ;; esac")
    assert CLUSTER.has_dns() is there


def test_what_is_typed_at_the_terminal_does_not_reach_kubectl(programs: Path) -> None:
    put(programs, "kubectl", f"cut -d ' ' -f 6 /proc/self/stat >{programs}/session")
    CLUSTER.remove()
    assert int((programs / "session").read_text()) != os.getsid(0)


def test_the_reason_of_a_failure_is_kubectls(programs: Path) -> None:
    put(programs, "kubectl", "echo 'error: timed out waiting for the condition' >&2; exit 1")
    with pytest.raises(CommandError, match=r"^timed out waiting for the condition$"):
        CLUSTER.wait_for_daemon_set("web")


def fetch(patience: int, *urls: str) -> list[list[str]]:
    """What the program in a pod prints: URL, hundredths of a second, answer."""
    command = [*FETCH[:-1], str(patience), *urls]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_each_url_has_a_line_whatever_it_answers(programs: Path) -> None:
    put(programs, "wget", 'case $4 in *good*) echo web-1 ;; *) printf "wget: not\\nthere *" >&2; exit 1 ;; esac')
    (good, _, answer), (bad, _, reason) = fetch(0, "http://good/", "http://bad/")
    assert (good, answer, bad, reason) == ("http://good/", "web-1", "http://bad/", "wget: not there *")


def test_what_does_not_answer_at_once_is_asked_again(programs: Path) -> None:
    put(programs, "wget", f"[ -e {programs}/asked ] && echo web-1 || {{ touch {programs}/asked; exit 1; }}")
    [(_, hundredths, answer)] = fetch(30, "http://late/")
    assert answer == "web-1"
    assert int(hundredths) >= 90


def test_nothing_to_fetch_is_no_error() -> None:
    assert fetch(1) == []
