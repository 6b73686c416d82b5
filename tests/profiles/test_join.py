"""A worker of one lab joins the cluster of another lab, runs pods there, and leaves it again."""

import json
from collections.abc import Iterator

import pytest

from tests.support.cluster import CLIENT, PORT, WGET, address_pod, client_address, ready, wait_for_pods
from tests.support.profile import EveryLab, brought_up
from tests.support.running_lab import RunningLab

GUEST, HOST = "guest-0", "node-0"


@pytest.fixture(scope="module")
def first() -> Iterator[RunningLab]:
    """The lab whose cluster the other one joins: the default stack, smaller, with routes to the guest's pods."""

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
    """The joining lab, with the CA from the other lab's outputs. Joining restarts nothing in the other lab."""
    joining = RunningLab(first.checkout, "join")
    joining.configure(workers=[{**node, "memory": 1024} for node in joining.workers])
    joining.run("pulumi", "stack", "init", "join", "--non-interactive")
    for name, output, options in (
        ("caCertificate", "certificateAuthority", ()),
        ("caKey", "certificateAuthorityKey", ("--secret",)),
    ):
        command = ("config", "set", "--stack", "join", "--path", *options, f"hardway:join.{name}", "--non-interactive")
        joining.run("pulumi", *command, stdin=first.output(output))

    def come_up() -> None:
        up = joining.hardway("up")
        assert up.succeeded, up.output

    assert first.restarts(come_up) == set()
    yield joining
    destroyed = joining.hardway("destroy")
    assert destroyed.succeeded, destroyed.output


def test_worker_is_ready_with_its_role(lab: RunningLab) -> None:
    assert ready(lab) == {HOST, GUEST}
    assert lab.kubectl("get", "nodes", "--selector=node-role.kubernetes.io/worker", "--output=name").split() == [
        f"node/{GUEST}",
        f"node/{HOST}",
    ]


def test_worker_has_no_admin_kubeconfig(lab: RunningLab) -> None:
    assert lab.ssh(GUEST, "ls /run/kubeconfig.* /var/lib/addons 2>/dev/null || true") == ""


def test_pods_of_both_labs_see_each_others_addresses(lab: RunningLab) -> None:
    names = {node: f"address-{node}" for node in (HOST, GUEST)}
    manifest = "\n---\n".join(json.dumps(address_pod(name, node)) for node, name in names.items())
    try:
        lab.kubectl("apply", "--filename=-", stdin=manifest)
        wait_for_pods(lab)
        addresses = {
            node: lab.kubectl("get", "pod", name, "--output=jsonpath={.status.podIP}") for node, name in names.items()
        }
        for client, server in ((HOST, GUEST), (GUEST, HOST)):
            fetch = (*WGET, f"http://{addresses[server]}:{PORT}/{CLIENT}")
            assert client_address(lab.kubectl("exec", names[client], "--", *fetch)) == addresses[client]
    finally:
        lab.kubectl("delete", "--filename=-", "--ignore-not-found", stdin=manifest)


def test_pods_and_services_of_the_first_lab_work(lab: RunningLab, first: RunningLab) -> None:
    assert GUEST in ready(lab)
    smoke = first.hardway("smoke")
    assert smoke.succeeded, smoke.output


def test_first_lab_knows_the_node_as_a_guest(lab: RunningLab, first: RunningLab) -> None:
    assert ready(lab) == {HOST, GUEST}
    assert first.verify() == []


class TestLab(EveryLab):
    """The tests of every lab."""


def test_ca_key_never_shows(lab: RunningLab, first: RunningLab) -> None:
    key = first.output("certificateAuthorityKey")
    for text in (lab.stack_file.read_text(), *lab.printed):
        assert not [line for line in key.splitlines()[1:-1] if line in text]


def test_destroy_removes_the_node_from_the_cluster(lab: RunningLab, first: RunningLab) -> None:
    destroyed = lab.hardway("destroy")
    assert destroyed.succeeded, destroyed.output
    kubeconfig = f"--kubeconfig={first.workspace.kubeconfig('dev')}"
    assert first.kubectl(kubeconfig, "get", "nodes", "--output=name").split() == [f"node/{HOST}"]
