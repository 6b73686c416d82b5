"""A worker of one lab in the cluster of another: it joins, its pods and theirs reach each other, and it takes leave."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.test_lab import PORT, ready, web_pod
from tests.profiles.conftest import EveryLab, brought_up
from tests.support.running_lab import RunningLab

GUEST, HOST = "guest-0", "node-0"


@pytest.fixture(scope="module")
def first() -> Iterator[RunningLab]:
    """The lab whose cluster is joined: the default stack, smaller, with routes to the pods of the guest."""

    def configure(running: RunningLab) -> None:
        guests = RunningLab(running.checkout, "join").workers
        running.configure(
            workers=[{**node, "memory": 1024} for node in running.workers if node["name"] == HOST],
            podRoutes=[{"podCidr": guest["podCidr"], "address": guest["address"]} for guest in guests],
        )

    with brought_up("dev", configure) as running:
        yield running


@pytest.fixture(scope="module")
def lab(first: RunningLab) -> Iterator[RunningLab]:
    """The lab that joins, up; its credentials are what the other's outputs say. Nothing restarts there by it."""
    joining = RunningLab(first.checkout, "join")
    joining.configure(workers=[{**node, "memory": 1024} for node in joining.workers])
    joining.run("pulumi", "stack", "init", "join", "--non-interactive")
    for name, output, options in (
        ("caCertificate", "certificateAuthority", ()),
        ("caKey", "certificateAuthorityKey", ("--secret",)),
    ):
        setting = ("config", "set", "--stack", "join", "--path", *options, f"hardway:join.{name}", "--non-interactive")
        joining.run("pulumi", *setting, stdin=first.output(output))

    def come_up() -> None:
        change = joining.make("up")
        assert change.succeeded, change.output

    assert first.restarts(come_up) == set()
    yield joining
    gone = joining.make("destroy")
    assert gone.succeeded, gone.output


def test_the_worker_is_a_ready_node_with_its_role(lab: RunningLab) -> None:
    assert ready(lab) == {HOST, GUEST}
    assert lab.kubectl("get", "nodes", "--selector=node-role.kubernetes.io/worker", "--output=name").split() == [
        f"node/{GUEST}",
        f"node/{HOST}",
    ]


def test_of_the_administrators_kubeconfig_nothing_is_on_the_worker(lab: RunningLab) -> None:
    assert lab.ssh(GUEST, "ls /run/kubeconfig.* /var/lib/addons 2>/dev/null || true") == ""


def test_pods_of_both_labs_reach_each_other(lab: RunningLab) -> None:
    manifest = "\n---\n".join(map(json.dumps, map(web_pod, (HOST, GUEST))))
    try:
        lab.kubectl("apply", "--filename=-", stdin=manifest)
        lab.kubectl("wait", "pods", "--selector=app=web", "--for=condition=Ready", "--timeout=900s")
        for here, there in ((HOST, GUEST), (GUEST, HOST)):
            address = lab.kubectl("get", "pod", f"web-{there}", "--output=jsonpath={.status.podIP}")
            fetch = ("timeout", "60", "wget", "-q", "-O", "-", f"http://{address}:{PORT}/index.html")
            assert lab.kubectl("exec", f"web-{here}", "--", *fetch).strip() == there
    finally:
        lab.kubectl("delete", "pods", "--selector=app=web")


class TestLab(EveryLab):
    """What holds of every lab."""


def test_no_secret_is_in_the_stack_file_or_in_what_was_printed(lab: RunningLab, first: RunningLab) -> None:
    key = first.output("certificateAuthorityKey")
    for text in (lab.stack_file.read_text(), *lab.printed):
        assert not [line for line in key.splitlines()[1:-1] if line in text]


def test_a_lab_that_goes_takes_its_node_out_of_the_cluster(lab: RunningLab, first: RunningLab) -> None:
    gone = lab.make("destroy")
    assert gone.succeeded, gone.output
    kubeconfig = f"--kubeconfig={first.workspace.kubeconfig('dev')}"
    assert first.kubectl(kubeconfig, "get", "nodes", "--output=name").split() == [f"node/{HOST}"]
