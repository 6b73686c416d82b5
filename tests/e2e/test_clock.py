"""The clock of a VM is soon right again after a suspension, and a wrong clock is reported and repaired."""

import json
import time

from tests.support.running_lab import CLOCK_TOLERANCE, RunningLab, wait_for

NODE = "node-1"
SUSPENSION = 10 + CLOCK_TOLERANCE
"""Seconds. Much longer than it takes to read a node's clock, so that an error cannot be overlooked."""


def test_clock_is_right_after_a_suspension(lab: RunningLab) -> None:
    lab.run("virsh", "suspend", f"hardway-{NODE}")
    time.sleep(SUSPENSION)
    lab.run("virsh", "resume", f"hardway-{NODE}")
    wait_for("the clock to be right", lambda: lab.clock_errors() == {})
    assert "The clock was off by -" in lab.ssh(NODE, "journalctl --unit clock --output cat --lines 1")


def test_wrong_clock_is_reported_and_repaired(lab: RunningLab) -> None:
    lab.ssh(NODE, "systemctl stop clock && date --set '60 seconds ago'")
    found = [difference["difference"] for difference in lab.verify() if difference["service"] == "node-setup"]
    assert any("s behind that of this machine; `hardway up` corrects it" in difference for difference in found), found
    problems = json.loads(lab.hardway("status", "--json").stdout)["problems"]
    assert [each["part"] for each in problems if "its clock is" in each["problem"]] == [NODE]
    assert lab.up().succeeded
    assert lab.clock_errors() == {}
    assert lab.verify() == []
    assert lab.planned() == {}
