"""Observing VMs and starting what somebody stopped, with a fake virsh."""

from pathlib import Path

import pytest

from host.libvirt import observed
from host.libvirt.observed import LibvirtLab
from system.errors import HostError
from tests.support.fake_programs import put

LAB = LibvirtLab(
    uri="qemu:///system",
    network="hardway",
    pool="hardway",
    vms=dict.fromkeys(("hardway-server", "hardway-node-0", "hardway-node-1"), "127.0.0.1"),
)
STATES = {
    "list": " Id   Name             State\n---------------------------------\n"
    " 1    hardway-server   running\n -    hardway-node-0   {vm}\n -    someone          shut off\n",
    "net-list": " Name      State      Autostart   Persistent\n---------------\n hardway   {network}   yes   yes\n",
    "pool-list": " Name      State    Autostart\n---------------\n hardway   {pool}   yes\n",
}


@pytest.fixture
def libvirt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a fake virsh, in which everything runs, and `calls` records what changes something."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(observed, "_accepts_connections", lambda _: True)
    put(
        tmp_path,
        "virsh",
        f'shift 2\nif [ "$1" = "net-list --all; pool-list --all; list --all --managed-save" ]; then\n'
        f'for listing in net-list pool-list list; do cat "{tmp_path}/$listing"; echo; done\nexit\nfi\n'
        f'if [ "$1" = list ]; then exec cat "{tmp_path}/list"; fi\n'
        f'echo "$*" >>"{tmp_path}/calls"\ntest ! -e "{tmp_path}/refuses" || {{ echo "error: no memory" >&2; exit 1; }}',
    )
    set_states(tmp_path)
    return tmp_path


def set_states(folder: Path, *, vm: str = "running", network: str = "active", pool: str = "active") -> None:
    """Give node-0, the network and the pool a state."""
    for name, table in STATES.items():
        (folder / name).write_text(table.format(vm=vm, network=network, pool=pool))


def calls(folder: Path) -> list[str]:
    """Return the commands that changed something."""
    path = folder / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_running_lab_has_nothing_stopped(libvirt: Path) -> None:
    assert observed.find(LAB) is None
    assert calls(libvirt) == []


def test_incomplete_answer_says_nothing(libvirt: Path) -> None:
    set_states(libvirt, vm="shut off")
    (libvirt / "pool-list").write_text("")
    assert observed.find(LAB) is None


def test_missing_or_silent_libvirt_is_left_to_the_engine(libvirt: Path) -> None:
    put(libvirt, "virsh", "exit 1")
    assert observed.find(LAB) is None
    (libvirt / "virsh").unlink()
    assert observed.find(LAB) is None


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("shut off", "start"),
        ("crashed", "start"),
        ("paused", "resume"),
        ("pmsuspended", "dompmwakeup"),
    ],
)
def test_vm_runs_again(libvirt: Path, state: str, command: str) -> None:
    set_states(libvirt, vm=state)
    found = observed.find(LAB)
    assert str(found) == f"VM hardway-node-0 is {state}"
    assert found
    found.start()
    assert calls(libvirt) == [f"{command} hardway-node-0"]


def test_stopped_vms_continue_together(libvirt: Path) -> None:
    table = STATES["list"].replace("running", "saved").format(vm="saved")
    (libvirt / "list").write_text(table)
    found = observed.find(LAB)
    assert str(found) == "VM hardway-node-0 is stopped, VM hardway-server is stopped"
    assert found
    found.start()
    # The listing still calls them saved, so nothing is resumed.
    assert sorted(calls(libvirt)[:2]) == ["start hardway-node-0 --paused", "start hardway-server --paused"]
    assert calls(libvirt)[2:] == ["autostart hardway-node-0; autostart hardway-server"]


def test_vms_restart_with_their_network(libvirt: Path) -> None:
    set_states(libvirt, vm="paused", network="inactive", pool="inactive")
    found = observed.find(LAB)
    assert str(found) == "network hardway is inactive, pool hardway is inactive, VM hardway-node-0 is paused"
    assert found
    found.start()
    assert calls(libvirt) == [
        "pool-start hardway",
        "net-start hardway",
        *("destroy hardway-node-0", "start hardway-node-0"),
        *("destroy hardway-server", "start hardway-server"),
    ]


def test_failed_start_names_the_reason(libvirt: Path) -> None:
    set_states(libvirt, vm="shut off")
    (libvirt / "refuses").touch()
    found = observed.find(LAB)
    assert found
    with pytest.raises(HostError, match=r"(?s)VM hardway-node-0 is shut off.*no memory"):
        found.start()


def test_vm_that_does_not_answer_is_named(libvirt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_states(libvirt, vm="shut off")
    monkeypatch.setattr(observed, "_accepts_connections", lambda _: False)
    monkeypatch.setattr(observed, "_BOOT_TIMEOUT", 0)
    found = observed.find(LAB)
    assert found
    with pytest.raises(HostError, match="hardway-node-0 did not answer within 0 s"):
        found.start()


def test_existing_vms_are_listed_with_their_uuids(libvirt: Path) -> None:
    put(libvirt, "virsh", 'printf "uuid-0 hardway-node-0\\nuuid-1 hardway-node-1\\n\\n"')
    assert observed.uuids(LAB.uri) == {"hardway-node-0": "uuid-0", "hardway-node-1": "uuid-1"}
    put(libvirt, "virsh", "exit 1")
    assert observed.uuids(LAB.uri) is None


def test_command_lines_of_existing_vms_are_read(libvirt: Path) -> None:
    lines = {"hardway-node-0": "<cmdline>root=/dev/vda quiet</cmdline>", "hardway-node-1": ""}
    domains = "".join(f"<domain><name>{name}</name><os>{line}</os></domain>" for name, line in lines.items())
    put(libvirt, "virsh", f"test \"$3\" = 'dumpxml hardway-node-0; dumpxml hardway-node-1' && echo '{domains}'")
    assert observed.command_lines(LAB.uri, list(lines)) == {"hardway-node-0": "root=/dev/vda quiet"}
