"""`assets/node/install-prerequisites` with fake programs: firewalls, swap, packages and DNS."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.versions import node_packages
from tests.support.node_programs import install

FSTAB = "# /etc/fstab\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n/swapfile\tnone\tswap\tsw\t0\t0\n"


@dataclass
class Machine:
    """A machine in a folder, and the seconds for which the program waits for a lock."""

    folder: Path
    max_wait: int = 600

    @property
    def fstab(self) -> Path:
        return self.folder / "fstab"

    def prepare(self, *, swap: bool) -> tuple[str, list[str]]:
        """Run the program. Return its output, and the calls that concern swap."""
        result = self.run({}, swap=swap)
        assert result.returncode == 0, result.stderr
        return result.stdout, (self.folder / "log").read_text().splitlines()

    def run(self, programs: Mapping[str, str], *arguments: str, swap: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the program.

        Args:
            programs: The bodies of more fake programs, by name.
            swap: True if swap is active.
            arguments: The arguments.
        """
        log = self.folder / "log"
        log.write_text("")
        bodies = {
            "stat": "echo cgroup2fs",
            "swapon": f"[ -e {self.folder}/off ] || echo /swapfile file 1G" if swap else "",
            "swapoff": f'echo swapoff "$@" >>{log}; touch {self.folder}/off',
            "systemctl": f'echo systemctl "$@" >>{log}',
            "mkdir": "",
            "systemd-tmpfiles": "",
        }
        bodies |= programs
        bodies |= {package.command: "" for package in node_packages().values() if package.command}
        for name, body in bodies.items():
            (self.folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (self.folder / name).chmod(0o755)
        program = install(self.folder / "node") / "install-prerequisites"
        text = program.read_text().replace("/etc/fstab", str(self.fstab))
        text = text.replace("max_wait_for_lock=600", f"max_wait_for_lock={self.max_wait}")
        text = text.replace("/var/log/", f"{self.folder}/")
        text = text.replace("servers=/etc/resolv.conf", f"servers={self.folder}/servers")
        program.write_text(text.replace("/etc/tmpfiles.d/", f"{self.folder}/"))
        with (program.parent / "node.env").open("a") as environment:
            environment.write(f"RESOLV_CONF={self.folder}/resolv.conf\nSTATE={self.folder}/node\n")
        return subprocess.run(
            [program, *arguments],
            env={"PATH": f"{self.folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine with swap in its fstab."""
    machine = Machine(tmp_path)
    machine.fstab.write_text(FSTAB)
    return machine


def test_active_swap_is_disabled_permanently(machine: Machine) -> None:
    output, calls = machine.prepare(swap=True)
    assert "Swap was found on" in output
    assert calls == ["swapoff -a", "systemctl daemon-reload", "systemctl mask --quiet swap.target"]
    assert machine.fstab.read_text().splitlines() == [
        "# /etc/fstab",
        "UUID=1 / ext4 defaults 0 1",
        "# off for Kubernetes: UUID=2 none swap sw 0 0",
        "# off for Kubernetes: /swapfile\tnone\tswap\tsw\t0\t0",
    ]


def test_swap_in_fstab_is_disabled(machine: Machine) -> None:
    output, calls = machine.prepare(swap=False)
    assert "Swap was found on" in output
    assert "swapoff -a" in calls


def test_machine_without_swap_is_not_changed(machine: Machine) -> None:
    machine.prepare(swap=True)
    fstab = machine.fstab.read_text()
    output, calls = machine.prepare(swap=False)
    assert output == ""
    assert calls == ["systemctl mask --quiet swap.target"]
    assert machine.fstab.read_text() == fstab


def test_pods_get_the_dns_servers_of_the_machine(machine: Machine) -> None:
    machine.prepare(swap=False)
    line = (machine.folder / "node-resolver.conf").read_text()
    assert line == f"L {machine.folder}/resolv.conf - - - - {machine.folder}/servers\n"


def test_pods_get_no_dns_servers_on_loopback(machine: Machine) -> None:
    (machine.folder / "resolv.conf").symlink_to(machine.folder / "servers")
    text = "search a.example\nnameserver 127.0.0.1\nnameserver ::1\nnameserver 192.0.2.1\n"
    (machine.folder / "servers").write_text(text)
    machine.prepare(swap=False)
    assert not (machine.folder / "resolv.conf").is_symlink()
    servers = (machine.folder / "node-resolver.conf").read_text().split()[-1]
    assert Path(servers).read_text() == "search a.example\nnameserver 192.0.2.1\n"


def test_dns_of_systemd_resolved_is_kept(machine: Machine) -> None:
    (machine.folder / "resolv.conf").touch()
    machine.prepare(swap=False)
    assert not (machine.folder / "node-resolver.conf").exists()


@pytest.mark.parametrize(
    ("programs", "remedy"),
    [
        ({"firewalld": ""}, "systemctl disable --now firewalld"),
        ({"ufw": "echo Status: active"}, "ufw disable"),
    ],
    ids=["firewalld", "ufw"],
)
def test_active_firewall_is_refused(machine: Machine, programs: dict[str, str], remedy: str) -> None:
    result = machine.run(programs)
    assert result.returncode == 1
    [name] = programs
    assert f"{name} is active and may drop the traffic of pods; disable it: {remedy}" in result.stderr
    assert machine.fstab.read_text() == FSTAB


def test_inactive_firewall_is_accepted(machine: Machine) -> None:
    inactive = '[ "$1" != is-active ]'
    assert machine.run({"firewalld": "", "systemctl": inactive, "ufw": "echo Status: inactive"}).returncode == 0


def test_only_missing_packages_are_installed(machine: Machine) -> None:
    log = machine.folder / "apt"
    programs = {"apt-get": f'echo "$@" >>{log}', "haproxy": ""}
    assert machine.run(programs, "haproxy", "no-such-command").returncode == 0
    assert log.read_text().splitlines() == ["update -qq", "install -qq -y no-such-command"]


HELD = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (unattended-upgr)"


def test_packages_wait_for_the_lock_of_another_program(machine: Machine) -> None:
    turns = machine.folder / "turns"
    apt = f'echo >>{turns}; [ "$(wc -l <{turns})" -gt 3 ] || {{ echo "{HELD}" >&2; exit 100; }}'
    result = machine.run({"apt-get": apt, "sleep": ""}, "no-such-command")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("/lists/lock. It is held by process 812 (unattended-upgr)") == 1


def test_a_lock_that_stays_is_reported_with_its_holder(machine: Machine) -> None:
    machine.max_wait = 0
    result = machine.run({"apt-get": f'echo "{HELD}" >&2; exit 100'}, "no-such-command")
    assert result.returncode == 1
    assert "another program installs packages for more than 0 s: Could not get lock" in result.stderr
    assert "held by process 812 (unattended-upgr)" in result.stderr
    assert "Missing: no-such-command" in result.stderr


def test_another_error_of_apt_is_reported_at_once(machine: Machine) -> None:
    result = machine.run({"apt-get": "echo 'E: Unable to locate package' >&2; exit 100"}, "no-such-command")
    assert result.returncode == 1
    assert "could not be installed: no-such-command; E: Unable to locate package" in result.stderr
