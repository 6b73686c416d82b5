"""An existing machine becomes a worker, and is restored when it leaves the configuration."""

from collections.abc import Iterator, Mapping

import pytest

from lab.node.node_setup import NETWORK_FILES
from tests.support.cluster import ready
from tests.support.profile import EveryLab, brought_up
from tests.support.running_lab import RunningLab
from tests.support.spare_machine import SpareMachine

ADDRESS = "10.240.0.30"
WORKER = "node-1"

ASPECTS = {
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
"""Aspects of a machine, and the command that shows each."""


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    """The default stack with one VM fewer, which the machine replaces."""
    with brought_up("dev", lambda lab: lab.configure(workers=lab.workers[:1])) as running:
        yield running


@pytest.fixture(scope="module")
def machine(lab: RunningLab) -> Iterator[SpareMachine]:
    """A machine with active swap. Of the lab, it has only the Debian packages."""
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
    """The state of the machine before it becomes a node."""
    return state_of(machine)


def state_of(machine: SpareMachine) -> dict[str, str]:
    """Return the output of the command of each aspect."""
    return {aspect: machine.ssh(command) for aspect, command in ASPECTS.items()}


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the lines that were added or removed, by aspect."""
    lines = {aspect: set(before[aspect].splitlines()) ^ set(after[aspect].splitlines()) for aspect in before}
    return {aspect: changed for aspect, changed in lines.items() if changed}


def test_machine_becomes_a_worker(lab: RunningLab, machine: SpareMachine, before: Mapping[str, str]) -> None:
    assert "/swap" in before["swap"]
    worker = {"name": WORKER, "address": ADDRESS, "podCidr": "10.200.1.0/24"}
    lab.configure(workers=[*lab.workers, {**worker, "machine": {"hostKey": machine.login.host_key}}])
    key = "hardway:workers[1].machine.privateKey"
    lab.run("pulumi", "config", "set", "--stack", lab.stack, "--secret", "--path", key, stdin=machine.login.key)
    restarted = lab.restarts(lambda: bring_up(lab))
    assert restarted == set()
    assert ready(lab) == {"node-0", WORKER}
    assert machine.ssh("swapon --show --noheadings") == ""


def bring_up(lab: RunningLab) -> None:
    """Apply the configuration."""
    up = lab.hardway("up")
    assert up.succeeded, up.output


def test_state_has_no_vm_and_only_an_encrypted_key(lab: RunningLab, machine: SpareMachine) -> None:
    state = lab.run("pulumi", "stack", "export", "--stack", lab.stack).stdout
    assert f"::{WORKER}-kubelet" in state
    assert f"::{WORKER}-domain" not in state
    assert machine.login.key.splitlines()[1] not in state


class TestLab(EveryLab):
    """The tests of every lab."""


def test_removed_machine_is_restored(lab: RunningLab, machine: SpareMachine, before: Mapping[str, str]) -> None:
    lab.configure(workers=lab.workers[:1])
    assert lab.restarts(lambda: bring_up(lab)) == set()
    assert lab.kubectl("get", "node", WORKER, "--ignore-not-found") == ""
    assert differing(before, state_of(machine)) == {}
