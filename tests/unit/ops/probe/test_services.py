"""Starts of services, from the properties of their units."""

from pathlib import Path

from host.access.ssh import Login
from ops.clients import Commands
from ops.probe.services import BOOT, ServiceStart, ages, starts
from ops.status.node import CONNECT
from tests.support.fake_programs import put

LOGIN = Login(address="10.240.0.20", key="key", host_key="ssh-ed25519 key")
ANSWER = """\
100.50 190.00
Id=kubelet.service
ActiveEnterTimestampMonotonic=90500000

Id=containerd.service
ActiveEnterTimestampMonotonic=20500000

Id=never.service
ActiveEnterTimestampMonotonic=0
"""


def test_ages_come_from_one_ssh_command(programs: Path) -> None:
    put(programs, "ssh", f'echo "$@" >{programs}/words\ncat <<EOF\n{ANSWER}EOF')
    assert ages(Commands(), LOGIN, ["kubelet", "containerd", "never"]) == {
        BOOT: 100.5,
        "kubelet": 10.0,
        "containerd": 80.0,
    }
    words = (programs / "words").read_text()
    assert words.startswith(" ".join(CONNECT))
    assert words.endswith(" -- kubelet.service containerd.service never.service\n")


def test_only_services_younger_than_the_measurement_started() -> None:
    assert starts("node-0", {BOOT: 100.5, "kubelet": 10.0}, 60.0) == [
        ServiceStart(node="node-0", service="kubelet", at=50.0)
    ]
