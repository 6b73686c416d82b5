"""`assets/node/clock` with a folder as the root of the node's file system, and a `date` that sets nothing."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fake_programs import put
from tests.support.node_programs import install

UPTIME = 1000
TIMEOUT = 30.0


@dataclass
class Vm:
    """A VM in a folder, whose clock is that of this machine."""

    folder: Path

    def __post_init__(self) -> None:
        put(self.folder, "date", f'echo "$2" >>{self.folder}/dates')
        put(self.folder, "systemctl", "true")
        self.time_service(synchronized=False)
        self.set_rtc(0)

    def path(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def set_rtc(self, ahead: int, uptime: int = UPTIME) -> None:
        """Set the RTC, in seconds ahead of the clock, and the seconds since the start of the VM."""
        self.path("proc/uptime").write_text(f"{uptime}.42 99.00\n")
        self.path("sys/class/rtc/rtc0/since_epoch").write_text(f"{int(time.time()) + ahead}\n")

    def time_service(self, *, synchronized: bool) -> None:
        put(self.folder, "timedatectl", f"echo asked >>{self.folder}/asked; echo {'yes' if synchronized else 'no'}")

    def command(self, verb: str) -> list[str]:
        program = install(self.folder / "programs", root=self.folder) / "clock"
        program.write_text(program.read_text().replace("interval=5\n", "interval=0.05\n"))
        return ["env", f"PATH={self.folder}:/usr/bin:/bin", str(program), verb]

    def health(self) -> tuple[int, str]:
        """Return the exit code and output of the health check."""
        result = subprocess.run(self.command("healthy"), capture_output=True, text=True, check=False)
        return result.returncode, result.stdout.strip()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the program in the block."""
        with subprocess.Popen(self.command("run"), stdout=subprocess.DEVNULL) as process:
            yield
            assert process.poll() is None
            process.kill()

    def wait_for(self, name: str) -> list[str]:
        """Wait until a file exists, and return its lines."""
        deadline = time.monotonic() + TIMEOUT
        while not (self.folder / name).exists() or not (self.folder / name).read_text().endswith("\n"):
            assert time.monotonic() < deadline, f"{name} was never written"
            time.sleep(0.02)
        return (self.folder / name).read_text().splitlines()


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    """A VM whose clock is right."""
    return Vm(tmp_path)


def is_about(text: str, seconds: float) -> bool:
    return abs(float(text.removeprefix("@")) - seconds) < 5


@pytest.mark.parametrize("ahead", [-3600, 30])
def test_clock_is_set_to_the_rtc(vm: Vm, ahead: int) -> None:
    vm.set_rtc(ahead)
    with vm.running():
        assert is_about(vm.wait_for("dates")[0], time.time() + ahead)


def test_right_clock_is_not_set(vm: Vm) -> None:
    vm.set_rtc(1)
    with vm.running():
        time.sleep(0.2)
    assert not (vm.folder / "dates").exists()
    assert not (vm.folder / "asked").exists()


def test_time_service_is_believed_before_the_rtc(vm: Vm) -> None:
    vm.time_service(synchronized=True)
    vm.set_rtc(30)
    with vm.running():
        vm.wait_for("asked")
    assert not (vm.folder / "dates").exists()


def test_suspension_is_added_to_the_time_of_a_time_service(vm: Vm) -> None:
    vm.time_service(synchronized=True)
    vm.set_rtc(30)
    with vm.running():
        vm.wait_for("asked")
        vm.set_rtc(130)
        assert is_about(vm.wait_for("dates")[0], time.time() + 100)


def test_health_reports_the_difference(vm: Vm) -> None:
    assert vm.health() == (0, "")
    vm.set_rtc(600)
    code, reason = vm.health()
    assert code == 1
    assert reason.startswith("The clock differs from the VM's real-time clock by -")
    vm.time_service(synchronized=True)
    assert vm.health() == (0, "")


def test_stopped_service_is_not_healthy(vm: Vm) -> None:
    put(vm.folder, "systemctl", "false")
    assert vm.health() == (1, "clock.service is not running.")


def test_machine_without_rtc_is_left_alone(vm: Vm) -> None:
    (vm.folder / "sys/class/rtc/rtc0/since_epoch").unlink()
    assert vm.health() == (0, "This VM has no real-time clock, so its clock is not corrected.")
    with vm.running():
        time.sleep(0.2)
    assert not (vm.folder / "dates").exists()
