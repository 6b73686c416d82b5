"""A random sequence of day-two operations, some of them interrupted: the lab always converges, and no data is lost.

`--seed` sets which operations are drawn, and `--rounds` how many.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.changes import IN_PLACE, draw
from tests.support.cluster import WORKERS, ready
from tests.support.running_lab import RunningLab, wait_for

STEPS = 4
"""Operations of a round."""
NODES = ("server", *WORKERS)
MAX_DELAY, MAX_DELAY_OF_VM = 30.0, 150.0
"""Seconds after the start of `hardway up` within which it is killed: about as long as emulated VMs need to restart
services, and to be recreated."""
KINDS = (*IN_PLACE, "kernel setting", "file")
"""The kinds of changes of the configuration that need no new machine."""
DATA = {f"key-{number}": str(number) * 1000 for number in range(20)}

Operation = Callable[[RunningLab, random.Random], tuple[str, ...]]
"""Prepares something for the next `hardway up`. It prints what, and returns the options of the command."""


def change(lab: RunningLab, rng: random.Random) -> tuple[str, ...]:
    """Change the configuration."""
    values, description = draw(lab.configuration, rng, KINDS)
    lab.configure_all(values)
    print(description)
    return ()


def renew(_: RunningLab, rng: random.Random) -> tuple[str, ...]:
    """Renew the certificates of a node."""
    node = rng.choice(NODES)
    print(f"renewal for {node}")
    return ("--renew", node)


def snapshot(lab: RunningLab, _: random.Random) -> tuple[str, ...]:
    """Take a snapshot of etcd."""
    print("a snapshot")
    lab.ssh("server", "systemctl start etcd-snapshots.service")
    return ()


def stop(lab: RunningLab, rng: random.Random) -> tuple[str, ...]:
    """Turn a VM off or suspend it."""
    command, node = rng.choice(("destroy", "suspend")), rng.choice(NODES)
    print(f"virsh {command} {node}")
    lab.run("virsh", command, f"hardway-{node}")
    return ()


def unregister(lab: RunningLab, rng: random.Random) -> tuple[str, ...]:
    """Delete a Node."""
    node = rng.choice(WORKERS)
    print(f"Node {node} is deleted")
    lab.kubectl("delete", "node", node)
    return ()


def damage(lab: RunningLab, rng: random.Random) -> tuple[str, ...]:
    """Change files and services of a worker by hand, which `hardway verify` finds."""
    node = rng.choice(WORKERS)
    print(f"changes by hand on {node}")
    lab.ssh(node, "echo '# by hand' >>/var/lib/kubelet/kubelet-config.yaml; systemctl stop kube-proxy")
    assert {found["node"] for found in lab.verify()} == {node}
    return ()


def recreate(lab: RunningLab, rng: random.Random) -> tuple[str, ...]:
    """Give a VM another disk, which recreates it."""
    node, values = rng.choice(NODES), lab.configuration
    for machine in (*values["controlPlanes"], *values["workers"]):
        if machine["name"] == node:
            machine["disk"] = machine.get("disk", 10) + 1
            print(f"disk of {node}: {machine['disk']}")
    lab.configure_all(values)
    return ()


OPERATIONS: tuple[Operation, ...] = (change, renew, snapshot, stop, unregister, damage, recreate)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let each operation be a test, so that one that fails does not hide the others."""
    if "step" in metafunc.fixturenames:
        metafunc.parametrize("step", range(STEPS * metafunc.config.getoption("--rounds")))


@pytest.fixture(scope="module")
def stored(lab: RunningLab) -> Iterator[dict[str, Any]]:
    """A ConfigMap with data. The configuration and the lab are restored in the end."""
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "sequence"}, "data": DATA}
    with lab.configured():
        lab.kubectl("create", "--filename=-", stdin=json.dumps(config_map))
        yield found(lab)
    up = lab.hardway("up")
    assert up.succeeded, up.output
    lab.kubectl("delete", "configmap", "sequence")


def found(lab: RunningLab) -> dict[str, Any]:
    """Return the ConfigMap as it is now."""
    config_map: dict[str, Any] = json.loads(lab.kubectl("get", "configmap", "sequence", "--output=json"))
    return config_map


def operation(seed: str, step: int) -> Operation:
    """Return the operation of a step. All operations are drawn once before one of them comes again."""
    turn, place = divmod(step, len(OPERATIONS))
    return random.Random(f"{seed} turn {turn}").sample(OPERATIONS, len(OPERATIONS))[place]


def test_lab_converges_after_an_operation(
    lab: RunningLab, stored: dict[str, Any], step: int, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("--seed")
    rng = random.Random(f"{seed} step {step}")
    drawn = operation(seed, step)
    options = drawn(lab, rng)
    if rng.random() < 0.6:
        kill_up(lab, options, rng.uniform(0, MAX_DELAY_OF_VM if drawn is recreate else MAX_DELAY))
    else:
        up = lab.hardway("up", *options)
        assert up.succeeded, up.output
    converge(lab)
    assert found(lab) == stored


def kill_up(lab: RunningLab, options: tuple[str, ...], delay: float) -> None:
    """Run `hardway up`, and kill it and its engine after some seconds."""
    print(f"`hardway up {' '.join(options)}` is killed after {delay:.1f} s")
    up = lab.start("hardway", "up", "--stack", lab.stack, *options, start_new_session=True)
    # The moment is drawn, so there is no condition to wait for.
    time.sleep(delay)
    os.killpg(up.pid, signal.SIGKILL)
    up.communicate()


def converge(lab: RunningLab) -> None:
    """Check that `hardway up` succeeds, and that nothing differs afterwards."""
    up = lab.hardway("up")
    assert up.succeeded, up.output
    assert lab.planned() == {}
    wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
    # Services of a VM that has just started may still be starting.
    differences: list[dict[str, str]] = []

    def nothing_differs() -> bool:
        differences[:] = lab.verify()
        return not differences

    try:
        wait_for("nothing differs", nothing_differs, timeout=180)
    except TimeoutError:
        assert differences == []
        raise
