"""The kubectl calls of `python3 -m ops.smoke`, and the output of its program in a pod."""

import os
import subprocess
from pathlib import Path

import pytest

from ops.clients import CommandError
from ops.smoke.cluster import ATTEMPTS, Cluster
from ops.smoke.trial import FETCH
from tests.support.fake_programs import put
from tests.support.kubectl_errors import LASTING, TRANSIENT

CLUSTER = Cluster(Path("/the/kubeconfig"), "the-namespace")


def test_kubectl_gets_kubeconfig_and_namespace(programs: Path) -> None:
    put(programs, "kubectl", 'echo "$@"')
    assert CLUSTER.execute("a-pod", ["ls", "/"]).split() == [
        "--kubeconfig=/the/kubeconfig",
        "--namespace=the-namespace",
        *["exec", "a-pod", "--", "ls", "/"],
    ]
    assert "--namespace=the-namespace logs --selector=app=web --prefix --tail=-1" in CLUSTER.logs("web")


def test_manifest_goes_through_standard_input(programs: Path) -> None:
    put(programs, "kubectl", f"cat >{programs}/made")
    CLUSTER.create("kind: Namespace\n")
    assert (programs / "made").read_text() == "kind: Namespace\n"


def test_pods_and_services_are_listed(programs: Path) -> None:
    put(programs, "kubectl", """echo '{"items": [{"kind": "Pod"}]}'""")
    assert CLUSTER.pods_and_services() == [{"kind": "Pod"}]


@pytest.mark.parametrize(("printed", "expected"), [("service/kube-dns", True), ("", False)])
def test_dns_needs_its_service(programs: Path, printed: str, expected: bool) -> None:
    put(programs, "kubectl", f"case $* in *--namespace=kube-system*) echo {printed} ;; esac")
    assert CLUSTER.has_dns() is expected


def test_aggregated_api_names_the_measured_nodes(programs: Path) -> None:
    answer = '{"items": [{"metadata": {"name": "node-0"}}]}'
    put(programs, "kubectl", f"case $* in *--raw*) echo '{answer}' ;; *'get apiservice'*) echo api ;; esac")
    assert CLUSTER.measured_nodes() == ["node-0"]
    put(programs, "kubectl", "")
    assert CLUSTER.measured_nodes() is None


def test_kubectl_runs_in_its_own_session(programs: Path) -> None:
    put(programs, "kubectl", f"cut -d ' ' -f 6 /proc/self/stat >{programs}/session")
    CLUSTER.remove()
    assert int((programs / "session").read_text()) != os.getsid(0)


def test_failure_has_the_reason_of_kubectl(programs: Path) -> None:
    put(programs, "kubectl", "echo 'error: timed out waiting for the condition' >&2; exit 1")
    with pytest.raises(CommandError, match=r"^timed out waiting for the condition$"):
        CLUSTER.wait_for_rollout("daemonset/web")


RESET = "error: read tcp 10.0.0.1:1->10.0.0.2:6443: read: connection reset by peer"


@pytest.fixture
def retrying(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster that does not wait before it repeats a call."""
    monkeypatch.setattr("ops.smoke.cluster.PAUSE", 0.0)
    return Cluster(Path("/the/kubeconfig"), "the-namespace")


@pytest.mark.parametrize("error", TRANSIENT)
def test_failed_connection_is_repeated_and_reported(programs: Path, retrying: Cluster, error: str) -> None:
    put(programs, "kubectl", f"mkdir {programs}/called 2>/dev/null && {{ echo '{error}' >&2; exit 1; }}; echo found")
    assert retrying.execute("a-pod", ["ls"]) == "found\n"
    assert retrying.retries == [f"kubectl exec a-pod: {error.removeprefix('error: ')}"]


@pytest.mark.parametrize(
    ("error", "calls"),
    [(RESET, ATTEMPTS), *((error.replace("'", ""), 1) for error in LASTING), (f"failed calling webhook: {RESET}", 1)],
)
def test_other_errors_are_not_repeated(programs: Path, retrying: Cluster, error: str, calls: int) -> None:
    put(programs, "kubectl", f"echo >>{programs}/calls; echo '{error}' >&2; exit 1")
    with pytest.raises(CommandError):
        retrying.create("kind: Namespace\n")
    assert len((programs / "calls").read_text().splitlines()) == calls


def fetch(seconds: int, *urls: str) -> list[list[str]]:
    """Run the program of a pod and return its lines: URL, hundredths of a second, answer."""
    command = [*FETCH[:-1], str(seconds), *urls]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_each_url_has_a_line(programs: Path) -> None:
    put(programs, "wget", 'case $4 in *good*) echo web-1 ;; *) printf "wget: not\\nthere *" >&2; exit 1 ;; esac')
    (good, _, answer), (bad, _, reason) = fetch(0, "http://good/", "http://bad/")
    assert (good, answer, bad, reason) == ("http://good/", "web-1", "http://bad/", "wget: not there *")


def test_late_answer_is_fetched_again(programs: Path) -> None:
    put(programs, "wget", f"[ -e {programs}/called ] && echo web-1 || {{ touch {programs}/called; exit 1; }}")
    [(_, hundredths, answer)] = fetch(30, "http://late/")
    assert answer == "web-1"
    assert int(hundredths) >= 90


def test_no_urls_is_no_error() -> None:
    assert fetch(1) == []
