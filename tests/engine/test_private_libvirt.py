"""A private libvirt: real daemons and a real (empty) VM in their own namespaces. Needs root."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host import environment
from host.access import access_files
from host.libvirt import private
from host.libvirt.private import PrivateLibvirt, sweep
from host.workspace import Workspace
from system import processes
from system.errors import HostError
from tests.support.inside import NETWORK, define, run, virsh

# A VM without anything to boot from is enough here.
DOMAIN = """\
<domain type="qemu">
  <name>empty</name>
  <memory unit="MiB">32</memory>
  <vcpu>1</vcpu>
  <os><type arch="x86_64">hvm</type></os>
  <devices><interface type="network"><source network="lab"/><model type="virtio"/></interface></devices>
</domain>
"""


def define_autostarted_vm(hypervisor: PrivateLibvirt) -> None:
    define(hypervisor, "net-", NETWORK)
    define(hypervisor, "", DOMAIN)
    virsh(hypervisor, "net-autostart", "lab")
    virsh(hypervisor, "autostart", "empty")
    virsh(hypervisor, "net-start", "lab")
    virsh(hypervisor, "start", "empty")


def process_named(hypervisor: PrivateLibvirt, name: str) -> int:
    """Return the only process of a program in the private libvirt's network namespace."""
    network = run(hypervisor, "readlink", "/proc/self/ns/net")
    found = [pid for pid in inside(network) if Path(f"/proc/{pid}/comm").read_text().strip() == name]
    assert len(found) == 1, found
    return found[0]


def inside(network: str) -> list[int]:
    """Return the PIDs of all processes in a network namespace."""
    found = []
    for pid in processes.every():
        with contextlib.suppress(OSError):  # it has ended, or is not accessible
            if str(Path(f"/proc/{pid}/ns/net").readlink()) == network and processes.Process.of(pid):
                found.append(pid)
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.05)


@pytest.mark.parametrize(("role", "niceness"), [("worker", {"5"}), ("control-plane", {"0"})])
def test_emulated_workers_leave_the_cpu_to_control_planes(
    hypervisor: PrivateLibvirt, role: str, niceness: set[str]
) -> None:
    define(hypervisor, "net-", NETWORK)
    define(hypervisor, "", DOMAIN.replace("<memory", f"<description>{role}</description><memory"))
    virsh(hypervisor, "net-start", "lab")
    virsh(hypervisor, "start", "empty")
    pid = run(hypervisor, "cat", "/run/libvirt/qemu/empty.pid")
    assert set(run(hypervisor, "ps", "-L", "-o", "ni=", "-p", pid).split()) == niceness


def test_starting_again_changes_nothing(hypervisor: PrivateLibvirt) -> None:
    before = run(hypervisor, "readlink", "/proc/self/ns/net")
    hypervisor.start()
    assert run(hypervisor, "readlink", "/proc/self/ns/net") == before


def test_it_answers_like_the_systems_libvirtd(hypervisor: PrivateLibvirt) -> None:
    assert virsh(hypervisor, "uri") == "qemu:///system"


def test_its_network_is_ready_and_private(hypervisor: PrivateLibvirt) -> None:
    define(hypervisor, "net-", NETWORK)
    virsh(hypervisor, "net-start", "lab")
    assert "10.99.0.1/24" in run(hypervisor, "ip", "-brief", "address", "show", "hw-test")
    assert "127.0.0.1/8" in run(hypervisor, "ip", "-brief", "address", "show", "lo")
    assert run(hypervisor, "cat", "/proc/sys/net/ipv4/ip_forward") == "1"
    outside = subprocess.run(["ip", "-brief", "link"], check=True, capture_output=True, text=True).stdout
    assert "hw-test" not in outside


def test_its_mounts_are_invisible_outside(hypervisor: PrivateLibvirt) -> None:
    assert str(hypervisor.instance) not in Path("/proc/self/mountinfo").read_text()
    assert Path("/sys/fs/cgroup").is_dir()


def test_kvm_is_hidden_if_it_does_not_work(hypervisor: PrivateLibvirt) -> None:
    assert subprocess.run(hypervisor.enter(["sh", "-c", ": >>/dev/kvm"]), capture_output=True).returncode != 0 or (
        not Path("/dev/kvm").exists()
    )


def test_a_command_keeps_directory_input_and_exit_code(hypervisor: PrivateLibvirt, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    script = 'pwd; cat; [ -n "$HARDWAY_NAMESPACE" ] && exit 7'
    old = Path.cwd()
    os.chdir(folder)
    try:
        result = subprocess.run(hypervisor.enter(["sh", "-c", script]), input="input", capture_output=True, text=True)
    finally:
        os.chdir(old)
    assert (result.stdout, result.returncode) == (f"{folder}\ninput", 7)


def test_a_command_inside_can_use_the_machines_own_network(hypervisor: PrivateLibvirt) -> None:
    inside = run(hypervisor, "sh", "-c", 'exec nsenter --net="$HARDWAY_NAMESPACE" readlink /proc/self/ns/net')
    assert inside == str(Path("/proc/self/ns/net").readlink())


def test_autostart_works_after_a_reboot(hypervisor: PrivateLibvirt) -> None:
    define_autostarted_vm(hypervisor)
    hypervisor.stop()
    assert not hypervisor.running()
    hypervisor.start()
    wait_until(lambda: virsh(hypervisor, "domstate", "empty") == "running", "the VM runs again")
    assert "active:         yes" in virsh(hypervisor, "net-info", "lab").lower()


def test_a_killed_libvirtd_restarts_and_vms_continue(hypervisor: PrivateLibvirt) -> None:
    define_autostarted_vm(hypervisor)
    machine, daemon = process_named(hypervisor, "qemu-system-x86"), process_named(hypervisor, "libvirtd")
    # If it ended within seconds of its start, it would count as one that cannot work here.
    process = processes.Process.of(daemon)
    assert process is not None
    wait_until(lambda: process.age() > 6, "libvirtd has run for a while")
    os.kill(daemon, signal.SIGKILL)

    def answers() -> bool:
        command = hypervisor.enter(["virsh", "--connect", "qemu:///system", "domstate", "empty"])
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() == "running"

    wait_until(answers, "libvirtd answers again")
    assert process_named(hypervisor, "qemu-system-x86") == machine


def test_a_start_ends_the_processes_of_a_killed_holder(hypervisor: PrivateLibvirt) -> None:
    define_autostarted_vm(hypervisor)
    left = process_named(hypervisor, "qemu-system-x86")
    recorded = processes.read(hypervisor.instance / "holder")
    assert recorded is not None
    os.kill(recorded.pid, signal.SIGKILL)
    wait_until(lambda: not hypervisor.running(), "the holder has ended")
    hypervisor.start()
    wait_until(lambda: virsh(hypervisor, "domstate", "empty") == "running", "the VM runs again")
    assert process_named(hypervisor, "qemu-system-x86") != left
    assert processes.Process.of(left) is None


def test_a_reused_pid_is_not_the_holder(hypervisor: PrivateLibvirt) -> None:
    recorded = processes.read(hypervisor.instance / "holder")
    assert recorded is not None
    own = processes.Process.of(os.getpid())
    assert own is not None
    (hypervisor.instance / "holder").write_text(f"{own.pid} {own.started - 1} {own.boot}\n")
    assert not hypervisor.running()
    with pytest.raises(HostError, match="does not run"):
        hypervisor.enter(["true"])


def test_purging_ends_everything_and_leaves_nothing(hypervisor: PrivateLibvirt) -> None:
    define_autostarted_vm(hypervisor)
    sleeper = subprocess.Popen(hypervisor.enter(["sleep", "1000"]))
    network = run(hypervisor, "readlink", "/proc/self/ns/net")
    assert len(inside(network)) > len(["libvirtd", "virtlogd", "holder", "dnsmasq", "qemu"])
    hypervisor.purge()
    assert sleeper.wait() == -signal.SIGTERM
    assert not hypervisor.instance.exists()
    assert inside(network) == []


def test_purging_one_leaves_another_alone(hypervisor: PrivateLibvirt, tmp_path: Path) -> None:
    other = PrivateLibvirt(tmp_path / "other")
    other.start(owner=os.getpid())
    define(other, "net-", NETWORK)
    assert virsh(hypervisor, "net-list", "--all", "--name") == ""
    other.purge()
    assert virsh(hypervisor, "uri") == "qemu:///system"


def test_a_sweep_purges_only_abandoned_instances(tmp_path: Path) -> None:
    owner = subprocess.Popen(["sleep", "1000"])
    orphan, owned, kept = (PrivateLibvirt(tmp_path / name) for name in ("orphan", "owned", "kept"))
    try:
        orphan.start(owner=owner.pid)
        owned.start(owner=os.getpid())
        kept.start()
        assert sweep(tmp_path) == []
        owner.kill()
        owner.wait()
        assert sweep(tmp_path) == [orphan.instance]
        assert not orphan.instance.exists()
        assert owned.running()
        assert kept.running()
    finally:
        owner.kill()
        for hypervisor in (orphan, owned, kept):
            hypervisor.purge()


def test_a_failed_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = PrivateLibvirt(tmp_path / "broken")
    monkeypatch.setitem(private._CONFIGURATION, "qemu.conf", "user = [nonsense\n")
    try:
        with pytest.raises(HostError, match=r"(?s)libvirtd.*qemu\.conf"):
            broken.start(owner=os.getpid())
    finally:
        broken.purge()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """Yield a prepared checkout with a private libvirt that does not run yet, as after a reboot."""
    checkout = tmp_path / "my lab's checkout"
    checkout.mkdir()
    workspace = Workspace(checkout)
    workspace.lab.mkdir()
    environment.write(
        workspace, environment.render(workspace, "dev", "qemu"), {"virsh": Path("/usr/bin/virsh")}, private=True
    )
    yield workspace
    PrivateLibvirt(workspace.hypervisor).purge()


def test_a_command_of_the_lab_starts_libvirt(workspace: Workspace) -> None:
    for _ in range(2):
        result = subprocess.run([workspace.bin / "virsh", "uri"], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == "qemu:///system"


def test_commands_keep_directory_input_and_exit_code(workspace: Workspace) -> None:
    command = [str(workspace.bin / "in-lab"), "sh", "-c", 'pwd; cat; echo "$1"; exit 7', "sh", "a  b"]
    result = subprocess.run(command, cwd=workspace.checkout, input="input\n", capture_output=True, text=True)
    assert (result.stdout, result.returncode) == (f"{workspace.checkout}\ninput\na  b\n", 7)


def test_a_command_of_the_lab_receives_signals(workspace: Workspace) -> None:
    script = 'trap "echo interrupted; exit 3" INT; echo ready; while :; do sleep 0.05; done'
    command = [str(workspace.bin / "in-lab"), "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
    assert process.returncode == 3


def test_ssh_reaches_a_node_inside_and_pins_its_key(workspace: Workspace) -> None:
    PrivateLibvirt(workspace.hypervisor).start(owner=os.getpid())
    keys = {name: workspace.checkout / name for name in ("host", "user")}
    for key in keys.values():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    options = {
        "ListenAddress": "127.0.0.1:22",
        "HostKey": f'"{keys["host"]}"',
        "AuthorizedKeysFile": f'"{keys["user"]}.pub"',
        "StrictModes": "no",
        "UsePAM": "yes",
        "PidFile": "none",
    }
    configuration = workspace.checkout / "sshd_config"
    configuration.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
    sshd = subprocess.Popen(
        PrivateLibvirt(workspace.hypervisor).enter(["/usr/sbin/sshd", "-D", "-e", "-f", str(configuration)]),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert sshd.stderr is not None
    assert "Server listening" in sshd.stderr.readline()

    def ssh(known_host_key: Path) -> subprocess.CompletedProcess[str]:
        outputs = {
            "kubeconfig": "",
            "sshKey": keys["user"].read_text(),
            "knownHosts": f"127.0.0.1 {known_host_key.read_text()}",
            "nodes": {"node-0": {"address": "127.0.0.1"}},
        }
        details = access_files.AccessDetails.from_dict(outputs)
        access_files.write_ssh_files(workspace.access("dev"), details, sys.executable, workspace.bin / "in-lab")
        command = ["ssh", "-F", str(workspace.access("dev") / "ssh_config"), "node-0", "readlink /proc/self/ns/net"]
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)

    assert ssh(keys["host"].with_suffix(".pub")).stdout.strip() == run(
        PrivateLibvirt(workspace.hypervisor), "readlink", "/proc/self/ns/net"
    )
    assert "verification failed" in ssh(keys["user"].with_suffix(".pub")).stderr.lower()
    sshd.terminate()
    sshd.wait()
    sshd.stderr.close()
