"""After any interruption, another `pulumi up` converges, without a manual step and without half-written files.

The kind and the moment of each interruption are drawn from `--seed`. `--rounds` sets their number.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping

import pytest

from tests.support.cluster import WORKERS, ready
from tests.support.running_lab import RunningLab, wait_for

NODE = "node-0"
MAX_DELAY = 25.0
"""Seconds after the start of a change within which to interrupt it. A change takes about that long on emulated VMs."""


def kill_engine(_: RunningLab, engine: subprocess.Popen[str]) -> None:
    """Kill the engine, which cannot clean up."""
    os.kill(engine.pid, signal.SIGKILL)


def cut_connections(lab: RunningLab, _: subprocess.Popen[str]) -> None:
    """Cut every SSH connection to the node, including this one."""
    lab.ssh(NODE, "pkill --full 'sshd: root@'", check=False)


def cut_power(lab: RunningLab, _: subprocess.Popen[str]) -> None:
    """Turn the VM off and on again."""
    lab.run("virsh", "destroy", f"hardway-{NODE}")
    lab.run("virsh", "start", f"hardway-{NODE}")


INTERRUPTIONS: dict[str, Callable[[RunningLab, subprocess.Popen[str]], None]] = {
    "the engine is killed": kill_engine,
    "the connections are cut": cut_connections,
    "the power is cut": cut_power,
}


@pytest.fixture(scope="module", autouse=True)
def _restored(lab: RunningLab) -> Iterator[None]:
    """Restore the configuration in the end."""
    with lab.configured():
        yield
    assert lab.up().succeeded


def applied_files(lab: RunningLab) -> Collection[str]:
    """Return the paths of the files of all services of the node."""
    return lab.ssh(NODE, "cut -f 6 /var/lib/hardway/services/*/applied/manifest | grep ^/ | sort -u").split()


def digests(lab: RunningLab, paths: Collection[str]) -> Mapping[str, str]:
    """Return the SHA-256 of files of the node, by path."""
    lines = lab.ssh(NODE, f"sha256sum -- {' '.join(paths)}").splitlines()
    return {path: digest for digest, path in map(str.split, lines)}


def converge(lab: RunningLab) -> None:
    """Check that `pulumi up` succeeds and that nothing differs afterwards and nothing is left over."""
    change = lab.up()
    assert change.succeeded, change.output
    assert lab.planned() == {}
    wait_for("every node Ready", lambda: ready(lab) == set(WORKERS))
    new_files = "find / -xdev -name '*.hardway-new'"
    transactions = "ls -d /var/lib/hardway/services/*/{before,next}* 2>/dev/null || true"
    assert lab.ssh(NODE, f"{new_files}; {transactions}") == ""
    assert lab.verify() == []


@pytest.mark.drawn(among=__name__)
@pytest.mark.parametrize("name", INTERRUPTIONS)
def test_up_converges_after(lab: RunningLab, name: str, request: pytest.FixtureRequest) -> None:
    draw = random.Random(f"{request.config.getoption('--seed')} {name}")
    paths = applied_files(lab)
    for number in range(max(1, request.config.getoption("--rounds") // len(INTERRUPTIONS))):
        before = digests(lab, paths)
        lab.configure(
            kubelet={"containerLogMaxFiles": draw.choice([4, 6, 8, 10]) + number}, cni={"mtu": draw.randint(1300, 1490)}
        )
        moment = draw.uniform(0, MAX_DELAY)
        print(f"{name} {moment:.1f} s into the change")
        engine = lab.start("pulumi", "up", "--stack", "dev", "--yes", "--skip-preview", "--non-interactive")
        # The moment is drawn, so there is no condition to wait for.
        time.sleep(moment)
        INTERRUPTIONS[name](lab, engine)
        engine.communicate()
        wait_for(f"{NODE} answers", lambda: lab.ssh(NODE, "echo here", check=False).strip() == "here")
        found = digests(lab, paths)
        converge(lab)
        after = digests(lab, paths)
        assert before != after
        assert not [path for path in paths if found[path] not in (before[path], after[path])]


@pytest.mark.drawn(among=__name__)
def test_up_converges_after_a_full_disk(lab: RunningLab) -> None:
    # Without this, the kubelet would free space by evicting pods and removing images.
    no_eviction = {
        "evictionHard": dict.fromkeys(("nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"),
        "imageGCHighThresholdPercent": 100,
    }
    lab.configure(kubelet=no_eviction)
    assert lab.up().succeeded
    paths = applied_files(lab)
    before = digests(lab, paths)
    lab.configure(kubelet=no_eviction | {"containerLogMaxFiles": 19})
    try:
        # Fill also the blocks that are reserved for root, because the lab writes as root.
        fill = "fallocate --length $(df --output=avail --block-size=1 / | tail -1) /full; cat /dev/zero >> /full"
        lab.ssh(NODE, fill, check=False)
        change = lab.up()
        found = digests(lab, paths)
    finally:
        lab.ssh(NODE, "rm /full")
    assert not change.succeeded
    assert "kubelet on node-0" in change.output
    assert "No space left" in change.output
    assert found == before
    converge(lab)
