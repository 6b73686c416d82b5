"""A machine that is already there becomes a worker, and is as it was once it leaves the configuration."""

from collections.abc import Iterator, Mapping

import pytest

from lab.node.node_setup import NETWORK_FILES
from tests.e2e.test_lab import ready
from tests.profiles.conftest import EveryLab, brought_up
from tests.support.running_lab import RunningLab
from tests.support.spare_machine import SpareMachine

ADDRESS = "10.240.0.30"
WORKER = "node-1"

LOOKS = {
    "files": "find /etc /opt /root /run/containerd /usr/local /var/lib /var/log/pods -xdev"
    " -not -type d -not -path '/var/lib/systemd/*' 2>/dev/null | sort; true",
    "fstab": "cat /etc/fstab",
    "swap": "swapon --show=NAME --noheadings",
    "units": "systemctl list-unit-files --no-legend 'kube*' 'containerd*' node-setup.service swap.target",
    "processes": "pgrep -a 'containerd|kube|pause' || true",
    "mounts": "findmnt --raw --noheadings --output TARGET | grep -E 'kubelet|containerd|netns' || true",
    "rules": "iptables-save | grep ^-A; nft list tables | grep -E 'kube|cni'; true",
    "interfaces": "ip -o link show | cut -d : -f 2 | grep -E 'cni|veth|ipvs' || true",
    "network namespaces": "ip netns list",
    "routes": "ip route show",
}
"""What is looked at, and the command that shows it."""


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    """The default stack with one VM fewer: the machine is in its place."""
    with brought_up("dev", lambda lab: lab.configure(workers=lab.workers[:1])) as running:
        yield running


@pytest.fixture(scope="module")
def machine(lab: RunningLab) -> Iterator[SpareMachine]:
    """A machine with swap that is on, and with nothing of the lab's but the Debian packages."""
    machine = SpareMachine(lab, like="node-0", address=ADDRESS)
    machine.ssh(
        f"rm -rf /var/lib/hardway {' '.join(NETWORK_FILES)}"
        " && fallocate -l 16M /swap && chmod 600 /swap && mkswap -q /swap"
        " && echo '/swap none swap sw 0 0' >>/etc/fstab && swapon /swap"
    )
    yield machine
    machine.purge()


@pytest.fixture(scope="module")
def before(machine: SpareMachine) -> Mapping[str, str]:
    """What the machine looks like before it is a node."""
    return seen(machine)


def seen(machine: SpareMachine) -> dict[str, str]:
    return {what: machine.ssh(command) for what, command in LOOKS.items()}


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, set[str]]:
    """What was looked at to the lines that came or went."""
    lines = {what: set(before[what].splitlines()) ^ set(after[what].splitlines()) for what in before}
    return {what: changed for what, changed in lines.items() if changed}


def test_a_machine_becomes_a_worker_and_nothing_restarts_elsewhere(
    lab: RunningLab, machine: SpareMachine, before: Mapping[str, str]
) -> None:
    assert "/swap" in before["swap"]
    worker = {"name": WORKER, "address": ADDRESS, "podCidr": "10.200.1.0/24"}
    lab.configure(workers=[*lab.workers, {**worker, "machine": {"hostKey": machine.login.host_key}}])
    key = "hardway:workers[1].machine.privateKey"
    lab.run("pulumi", "config", "set", "--stack", lab.stack, "--secret", "--path", key, stdin=machine.login.key)
    restarted = lab.restarts(lambda: become(lab))
    assert restarted == set()
    assert ready(lab) == {"node-0", WORKER}
    assert machine.ssh("swapon --show --noheadings") == ""


def become(lab: RunningLab) -> None:
    change = lab.make("up")
    assert change.succeeded, change.output


def test_the_state_has_no_vm_for_it_and_its_key_only_encrypted(lab: RunningLab, machine: SpareMachine) -> None:
    state = lab.run("pulumi", "stack", "export", "--stack", lab.stack).stdout
    assert f"::{WORKER}-kubelet" in state
    assert f"::{WORKER}-domain" not in state
    assert machine.login.key.splitlines()[1] not in state


class TestLab(EveryLab):
    """What holds of every lab."""


def test_a_machine_that_leaves_is_as_it_was(lab: RunningLab, machine: SpareMachine, before: Mapping[str, str]) -> None:
    lab.configure(workers=lab.workers[:1])
    assert lab.restarts(lambda: become(lab)) == set()
    assert lab.kubectl("get", "node", WORKER, "--ignore-not-found") == ""
    assert differing(before, seen(machine)) == {}
