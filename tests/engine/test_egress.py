"""Egress from a private libvirt's network: reachable and unreachable servers, start and end. Needs root."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from host.libvirt.private import PrivateLibvirt
from system import processes
from system.processes import Process
from tests.support.fake_programs import put
from tests.support.inside import NETWORK, define, run, virsh
from tests.support.waiting import wait_until

NAME_SERVER = "127.53.53.53"
"""An address of the machine's loopback, such as that of systemd-resolved."""
ANSWER = "192.0.2.53"
READ = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 60).makefile().read())"


class Greeter(socketserver.ThreadingTCPServer):
    """A server that sends its address to every client, and counts them."""

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), Greeting)
        self.address, self.port = address, str(self.server_address[1])
        self.served = 0


class Greeting(socketserver.BaseRequestHandler):
    """Sends the server's address."""

    server: Greeter

    def handle(self) -> None:
        """Send it."""
        self.server.served += 1
        self.request.sendall(f"at {self.server.address}".encode())


class Naming(socketserver.BaseRequestHandler):
    """A name server whose only answer is ANSWER, the IPv4 address of every name."""

    def handle(self) -> None:
        """Answer a query in the format of RFC 1035, section 4."""
        query, socket = self.request
        name_end = query.index(0, 12) + 1
        question, kind = query[12 : name_end + 4], query[name_end : name_end + 2]
        found = kind == b"\0\1"
        address = bytes(int(part) for part in ANSWER.split("."))
        record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + address if found else b""
        socket.sendto(
            query[:2] + b"\x81\x80\0\1\0" + bytes([found]) + b"\0\0\0\0" + question + record, self.client_address
        )


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Run a server in the machine's own network during the block."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def machine_address() -> str:
    """Return an address of this machine that others can reach."""
    command = ["ip", "-json", "-4", "address", "show", "up", "scope", "global"]
    found: list[dict[str, Any]] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return str(next(address["local"] for device in found for address in device.get("addr_info", ())))


@contextmanager
def on_the_network_of(hypervisor: PrivateLibvirt) -> Iterator[list[str]]:
    """Yield the words to put before commands on the lab's network. A namespace stands in for a VM."""
    # With the spanning tree protocol, a new port of the bridge waits for seconds.
    define(hypervisor, "net-", NETWORK.replace("<bridge", '<bridge stp="off"'))
    virsh(hypervisor, "net-start", "lab")
    with subprocess.Popen(hypervisor.enter(["unshare", "--net", "sleep", "infinity"])) as machine:
        try:
            wait_until(lambda: Path(f"/proc/{machine.pid}/comm").read_text() == "sleep\n", "it has its own network")
            enter = ["nsenter", f"--net=/proc/{machine.pid}/ns/net"]
            for command in (
                f"ip link add port type veth peer name eth0 netns {machine.pid}",
                "ip link set port master hw-test up",
                f"{' '.join(enter)} ip link set lo up",
                f"{' '.join(enter)} ip address add 10.99.0.15/24 dev eth0",
                f"{' '.join(enter)} ip link set eth0 up",
                f"{' '.join(enter)} ip route add default via 10.99.0.1",
            ):
                run(hypervisor, *command.split())
            yield [*hypervisor.enter(), *enter]
        finally:
            machine.terminate()


def use_name_server(server: str, folder: Path) -> list[str]:
    """Return the words to put before a command that uses this name server."""
    file = folder / f"resolv.conf-{server}"
    file.write_text(f"nameserver {server}\n")
    script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, "sh", str(file)]


def output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def slirp_of(hypervisor: PrivateLibvirt) -> Process:
    """Return the process that makes the connections."""
    holder = processes.read(hypervisor.instance / "holder")
    assert holder is not None
    children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
    found = [Process.of(int(pid)) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "slirp4netns\n"]
    assert len(found) == 1, children
    assert found[0] is not None
    return found[0]


def test_vms_and_programs_reach_the_machines_network(hypervisor: PrivateLibvirt) -> None:
    with serving(server := Greeter(machine_address())), on_the_network_of(hypervisor) as machine:
        for prefix in (hypervisor.enter(), machine):
            assert output([*prefix, sys.executable, "-c", READ, server.address, server.port]) == f"at {server.address}"


def test_the_machines_loopback_is_unreachable(hypervisor: PrivateLibvirt) -> None:
    with serving(server := Greeter("127.0.0.1")), on_the_network_of(hypervisor) as machine:
        for prefix in (hypervisor.enter(), machine):
            # Both 198.19.206.2 (gateway) and 198.19.206.3 (name server) lead to the machine.
            for address in ("127.0.0.1", "198.19.206.2", "198.19.206.3"):
                command = [*prefix, sys.executable, "-c", READ, address, server.port]
                assert subprocess.run(command, capture_output=True).returncode != 0
        assert server.served == 0
        assert output([sys.executable, "-c", READ, "127.0.0.1", server.port]) == "at 127.0.0.1"


def test_a_name_server_on_loopback_works_inside(tmp_path: Path) -> None:
    hypervisor = PrivateLibvirt(tmp_path / "instance")
    start = (
        f"import pathlib; from host.libvirt.private import PrivateLibvirt; "
        f"PrivateLibvirt(pathlib.Path({str(hypervisor.instance)!r})).start(owner={os.getpid()})"
    )
    ask = ["getent", "ahostsv4", "registry.example"]
    try:
        output([*use_name_server(NAME_SERVER, tmp_path), sys.executable, "-c", start])
        with (
            serving(socketserver.ThreadingUDPServer((NAME_SERVER, 53), Naming)),
            on_the_network_of(hypervisor) as machine,
        ):
            assert run(hypervisor, *ask).split()[0] == ANSWER
            assert output([*machine, *use_name_server("10.99.0.1", tmp_path), *ask]).split()[0] == ANSWER
            assert (
                run(hypervisor, "sh", "-c", f'nsenter --net="$HARDWAY_NAMESPACE" {" ".join(ask)}').split()[0] == ANSWER
            )
    finally:
        hypervisor.purge()


def test_a_killed_slirp4netns_is_restarted(hypervisor: PrivateLibvirt) -> None:
    closed = slirp_of(hypervisor)
    # If it ended within seconds of its start, it would count as one that cannot work here.
    wait_until(lambda: closed.age() > 6, "it has run for a while")
    os.kill(closed.pid, signal.SIGKILL)
    with serving(server := Greeter(machine_address())):
        command = hypervisor.enter([sys.executable, "-c", READ, server.address, server.port])
        wait_until(lambda: subprocess.run(command, capture_output=True).returncode == 0, "egress works again")
    assert slirp_of(hypervisor) != closed


def test_stopping_libvirt_ends_egress(hypervisor: PrivateLibvirt) -> None:
    slirp = slirp_of(hypervisor)
    hypervisor.stop()
    assert not slirp.alive()


def test_killing_the_holder_ends_egress(hypervisor: PrivateLibvirt) -> None:
    slirp = slirp_of(hypervisor)
    holder = processes.read(hypervisor.instance / "holder")
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    wait_until(lambda: not slirp.alive(), "egress has ended")
    hypervisor.start(owner=os.getpid())
    assert slirp_of(hypervisor) != slirp


@pytest.mark.parametrize("program", ["missing", "failing"])
def test_without_egress_libvirt_works_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for folder in ("/usr/sbin", "/usr/bin"):
        for path in Path(folder).iterdir():
            if path.name != "slirp4netns" and not (programs / path.name).is_symlink():
                (programs / path.name).symlink_to(path)
    if program == "failing":
        put(programs, "slirp4netns", 'echo "open(/dev/net/tun): No such file" >&2; exit 1')
    monkeypatch.setenv("PATH", str(programs))
    hypervisor = PrivateLibvirt(tmp_path / "instance")
    try:
        hypervisor.start(owner=os.getpid())
        reason = {"missing": "slirp4netns: No such file", "failing": "open(/dev/net/tun): No such file"}[program]
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "no egress" in lines[0]
        assert reason in lines[0]
        assert virsh(hypervisor, "uri") == "qemu:///system"
        assert run(hypervisor, "ip", "route") == ""
    finally:
        hypervisor.purge()
