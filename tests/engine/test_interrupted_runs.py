"""The engine is killed while it makes or takes down things of libvirt: the next run finishes, with no manual step.

Run as a user does: by `pulumi` of `.lab/bin`, against a private libvirtd. Needs root.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from host import environment, libvirt_objects, processes
from host.environment import Layout
from host.hypervisor import Hypervisor
from host.libvirt_objects import LibvirtObject
from tests.engine.waiting import wait_until

SEED = 20

PROGRAM = """\
import os
import pulumi
import pulumi_command as command
import pulumi_libvirt as libvirt
import pulumi_tls as tls

options = pulumi.ResourceOptions(provider=libvirt.Provider("libvirt", uri="qemu:///system"))
tls.PrivateKey("key", algorithm="ED25519")
pool = libvirt.Pool(
    "pool", name="lab", type="dir", target=libvirt.PoolTargetArgs(path="/var/lib/libvirt/images/lab"), opts=options
)
network = libvirt.Network("network", name="lab", mode="nat", addresses=["10.98.0.0/24"], opts=options)
image = libvirt.Volume("image", name="image", pool=pool.name, source=os.path.abspath("image"), opts=options)
disk = libvirt.Volume("disk", name="disk", pool=pool.name, base_volume_id=image.id, opts=options)
seed = libvirt.CloudInitDisk("seed", name="seed", pool=pool.name, user_data="#cloud-config\\n", opts=options)
domain = libvirt.Domain(
    "domain",
    name="lab-node",
    type="qemu",
    memory=32,
    vcpu=1,
    disks=[libvirt.DomainDiskArgs(volume_id=disk.id)],
    network_interfaces=[libvirt.DomainNetworkInterfaceArgs(network_id=network.id, wait_for_lease=False)],
    opts=options,
)
slow = command.local.Command(
    "slow",
    create="touch began; while test -e slow; do sleep 0.1; done",
    delete="true",
    opts=pulumi.ResourceOptions(depends_on=[domain, seed]),
)
"""
OBJECTS = {
    name: LibvirtObject(f"libvirt:index/{kind}", called, pool, "qemu:///system")
    for name, kind, called, pool in (
        ("pool", "pool:Pool", "lab", ""),
        ("network", "network:Network", "lab", ""),
        ("image", "volume:Volume", "image", "lab"),
        ("disk", "volume:Volume", "disk", "lab"),
        ("seed", "cloudInitDisk:CloudInitDisk", "seed", "lab"),
        ("domain", "domain:Domain", "lab-node", ""),
    )
}


class Checkout:
    """A prepared checkout with a program of its own."""

    def __init__(self, folder: Path, hypervisor: Hypervisor, pulumi: Path) -> None:
        self.layout = Layout(folder)
        self.hypervisor = hypervisor
        commands = {"pulumi": pulumi, "virsh": Path("/usr/bin/virsh")}
        environment.write(self.layout, environment.render(self.layout, "dev", "qemu"), commands, private=True)
        self.variables = os.environ | {
            "PULUMI_BACKEND_URL": self.layout.state.as_uri(),
            "PULUMI_CONFIG_PASSPHRASE": "of this test",
            "PULUMI_STACK": "dev",
        }
        runtime = {"name": "python", "options": {"virtualenv": sys.prefix}}
        (folder / "Pulumi.yaml").write_text(json.dumps({"name": "hardway", "runtime": runtime}))
        (folder / "__main__.py").write_text(PROGRAM)
        (folder / "image").write_bytes(random.Random(SEED).randbytes(32 * 2**20))
        self.call("stack", "init", "dev", "--no-select")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.layout.bin / "pulumi", *arguments],
            cwd=self.layout.checkout,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def start_run(self, command: str, *options: str) -> subprocess.Popen[str]:
        return self.start(command, "--yes", "--skip-preview", "--non-interactive", "--color=never", *options)

    def call(self, *arguments: str) -> str:
        return finished(self.start(*arguments))

    def run(self, command: str, *options: str) -> str:
        return finished(self.start_run(command, *options))

    def state(self) -> Mapping[str, list[dict[str, object]]]:
        file = self.layout.state / ".pulumi/stacks/hardway/dev.json"
        latest: Mapping[str, list[dict[str, object]]] = json.loads(file.read_text())["checkpoint"]["latest"] or {}
        return latest

    def pending(self) -> set[tuple[str, str]]:
        """Name and kind of the operations that the state has as begun and not as done."""
        found = set()
        for operation in self.state().get("pending_operations") or []:
            resource = operation["resource"]
            assert isinstance(resource, dict)
            found.add((resource["urn"].rpartition("::")[2], str(operation["type"])))
        return found

    def there(self) -> set[str]:
        """The names (in OBJECTS) of what libvirt has."""
        return {name for name, subject in OBJECTS.items() if self.has(subject)}

    def has(self, subject: LibvirtObject) -> bool:
        words = [word.format(pool=subject.pool) for word in libvirt_objects.KINDS[subject.type].listed]
        listed = subprocess.run(
            self.hypervisor.enter(["virsh", "--connect", subject.uri, *words]), capture_output=True, text=True
        )
        return subject.name in libvirt_objects._first_column(listed.stdout)

    def assert_finished(self) -> None:
        """Holds that all is made, that nothing is left to do, and that nothing is reported any more."""
        assert self.there() == set(OBJECTS)
        self.run("up", "--expect-no-changes")
        assert not self.pending()
        assert subprocess.run(
            self.hypervisor.enter(["virsh", "--connect", "qemu:///system", "domstate", "lab-node"]),
            capture_output=True,
            text=True,
        ).stdout.split() == ["running"]

    def assert_nothing_left(self) -> None:
        self.run("destroy")
        assert self.there() == set()
        assert not self.state().get("resources")
        assert not self.pending()


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def kill(engine: subprocess.Popen[str]) -> None:
    engine.send_signal(signal.SIGKILL)
    engine.wait()


def kill_before_it_notices(engine: subprocess.Popen[str], begun: Callable[[], bool], done: Callable[[], bool]) -> None:
    """Kills the engine after a plugin has done something and before the engine has written that down.

    The engine is let run for moments only, so that what it has begun can't be over unseen; the plugins go on meanwhile.
    begun: whether the state has it as begun and not as done. done: whether libvirt says that it is done.
    """
    deadline = time.monotonic() + 120
    while True:
        engine.send_signal(signal.SIGSTOP)
        # The signal is only sent then: what runs on until it stops could still be written down.
        os.waitid(os.P_PID, engine.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if begun() and comes_true(done):
            break
        assert engine.poll() is None, "the engine ended before"
        assert time.monotonic() < deadline, "it has not come true that something is done and not written down"
        engine.send_signal(signal.SIGCONT)
        time.sleep(0.002)
    kill(engine)


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it does while the engine is stopped; it can't where the plugin has not been asked yet."""
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        if condition():
            return True
    return False


def started_by(engine: int) -> list[int]:
    """The processes that belong to the engine's run."""
    found = []
    for pid in processes.every():
        try:
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(each.startswith(f"HARDWAY_ENGINE={engine} ".encode()) for each in variables):
            found.append(pid)
    return [pid for pid in found if processes.Process.of(pid) is not None]


@pytest.fixture(scope="module")
def hypervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hypervisor]:
    hypervisor = Hypervisor(tmp_path_factory.mktemp("interrupted") / ".lab/hypervisor")
    hypervisor.start(owner=os.getpid())
    yield hypervisor
    hypervisor.purge()


@pytest.fixture(scope="module")
def prepared(hypervisor: Hypervisor, engine: Path) -> Checkout:
    return Checkout(hypervisor.instance.parent.parent, hypervisor, engine)


@pytest.fixture
def checkout(prepared: Checkout) -> Iterator[Checkout]:
    """The checkout with nothing made; what a test has made must go by one `pulumi destroy`."""
    for name in ("began", "slow"):
        (prepared.layout.checkout / name).unlink(missing_ok=True)
    yield prepared
    prepared.assert_nothing_left()


@pytest.mark.parametrize("name", OBJECTS)
def test_up_finishes_after_a_kill_when_something_is_made_and_not_recorded(checkout: Checkout, name: str) -> None:
    engine = checkout.start_run("up")
    creating = (name, "creating")
    kill_before_it_notices(engine, lambda: creating in checkout.pending(), lambda: checkout.has(OBJECTS[name]))
    assert creating in checkout.pending()
    assert "was taken away" in checkout.run("up")
    checkout.assert_finished()


@pytest.mark.parametrize("name", ["pool", "image", "domain"])
def test_destroy_leaves_nothing_after_a_kill_when_something_is_made_and_not_recorded(
    checkout: Checkout, name: str
) -> None:
    engine = checkout.start_run("up")
    creating = (name, "creating")
    kill_before_it_notices(engine, lambda: creating in checkout.pending(), lambda: checkout.has(OBJECTS[name]))
    checkout.assert_nothing_left()


@pytest.mark.parametrize(
    ("name", "command"),
    [("domain", "up"), ("domain", "destroy"), ("network", "up"), ("disk", "up"), ("pool", "up"), ("pool", "destroy")],
)
def test_a_run_finishes_after_a_kill_when_something_is_gone_and_still_recorded(
    checkout: Checkout, name: str, command: str
) -> None:
    checkout.run("up")
    engine = checkout.start_run("destroy")
    deleting = (name, "deleting")
    kill_before_it_notices(engine, lambda: deleting in checkout.pending(), lambda: not checkout.has(OBJECTS[name]))
    assert deleting in checkout.pending()
    checkout.run(command)
    if command == "up":
        checkout.assert_finished()
    else:
        assert checkout.there() == set()


def test_up_finishes_after_a_kill_while_a_command_runs_and_nothing_of_that_run_goes_on(checkout: Checkout) -> None:
    (checkout.layout.checkout / "slow").touch()
    engine = checkout.start_run("up")
    wait_until((checkout.layout.checkout / "began").exists, "the command runs", lambda: engine.poll() is not None)
    of_the_run = started_by(engine.pid)
    assert len(of_the_run) > 3
    kill(engine)
    (checkout.layout.checkout / "slow").unlink()
    checkout.run("up")
    assert started_by(engine.pid) == []
    checkout.assert_finished()


def test_an_engine_that_works_on_the_stack_is_left_alone(checkout: Checkout) -> None:
    (checkout.layout.checkout / "slow").touch()
    engine = checkout.start_run("up")
    wait_until((checkout.layout.checkout / "began").exists, "the command runs", lambda: engine.poll() is not None)
    before = checkout.state()
    other = checkout.start_run("up")
    output, _ = other.communicate()
    assert other.returncode != 0
    assert f"pid {engine.pid}" in output
    assert checkout.state() == before
    assert checkout.there() == set(OBJECTS)
    (checkout.layout.checkout / "slow").unlink()
    finished(engine)
    checkout.assert_finished()


@pytest.mark.parametrize("number", range(4))
def test_up_finishes_after_kills_at_any_moments(checkout: Checkout, number: int) -> None:
    draw = random.Random(f"{SEED} {number}")
    for _ in range(2):
        engine = checkout.start_run("up")
        # The moment itself is what is drawn: there is no condition to wait for.
        time.sleep(draw.uniform(0.3, 6))
        kill(engine)
    checkout.run("up")
    checkout.assert_finished()


def test_a_foreign_object_of_a_name_that_was_only_asked_for_is_left_as_it_is(checkout: Checkout) -> None:
    checkout.run("up")
    made = OBJECTS["pool"]
    os.environ["PATH"], path = f"{checkout.layout.bin}:{os.environ['PATH']}", os.environ["PATH"]
    try:
        assert "left as it is" in made.take_away()
    finally:
        os.environ["PATH"] = path
    assert checkout.there() == set(OBJECTS)


def test_a_backend_of_the_users_own_is_left_alone(checkout: Checkout) -> None:
    lock = checkout.layout.state / ".pulumi/locks/organization/hardway/dev/abandoned.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    lock.write_text(json.dumps({"pid": ended.pid, "username": "u", "hostname": os.uname().nodename}))
    own = checkout.layout.checkout / "own"
    own.mkdir(exist_ok=True)
    process = subprocess.run(
        [checkout.layout.bin / "pulumi", "stack", "rm", "nothing"],
        cwd=checkout.layout.checkout,
        env=checkout.variables | {"PULUMI_BACKEND_URL": own.as_uri()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert process.returncode != 0
    assert lock.exists()
