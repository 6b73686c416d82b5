"""How control planes come to be members of etcd and leave it: `assets/node/etcd-member` with real etcds. Needs root."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lab.configuration import parse
from lab.control_plane import ETCD_HEALTH, etcd
from lab.spec import Node, Spec
from lab.units import ASSETS
from lab.versions import version
from tests.engine.waiting import wait_until
from toolchain import binaries

_HOLD = 'ip link set lo up && for address; do ip address add "$address/32" dev lo; done && echo ready && exec cat'
_ENTER = """
set -e
cd "$1"
mount --make-rprivate /
for folder in usr proc dev; do mount --rbind "/$folder" "$folder"; done
mount --bind "$2" programs
mount --bind "$3" etcd
exec chroot . "${@:4}"
"""
"""A file system of one control plane: what it writes stands in its own folder."""
_RUN = """
set -e
"$1" join "$2" "$3"
if [ -e /run/etcd-member.env ]; then set -a; . /run/etcd-member.env; set +a; fi
exec "${@:4}"
"""
"""What the unit does."""


def lab(count: int) -> Spec:
    """A lab of so many control planes."""
    nodes = [{"name": f"control{number}", "address": f"10.99.0.1{number}"} for number in range(count)]
    return parse({"networkCidr": "10.99.0.0/24", "controlPlanes": nodes, "workers": []})


ALL = lab(3).control_planes


class Members:
    """The control planes' etcds, each with a file system of its own, and all in one network that nobody else sees."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        addresses = [str(node.address) for node in ALL]
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _HOLD, "sh", *addresses], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"ready\n", "no network of its own could be made: are you root?"
        certificates = folder / "certificates"
        certificates.mkdir()
        _make_certificates(certificates, addresses)
        for node in ALL:
            for path in ("usr", "proc", "dev", "programs", "etcd", "etc", "var/lib/etcd", "run", "tmp"):
                (folder / node.name / path).mkdir(parents=True)
            shutil.copytree(certificates, folder / node.name / "etc/etcd")
            for name in ("bin", "sbin", "lib", "lib64"):
                (folder / node.name / name).symlink_to(f"usr/{name}")

    def close(self) -> None:
        """Ends all."""
        for name in list(self._running):
            self.kill(name)
        self._holder.communicate()

    def configure(self, count: int) -> None:
        """Tells each control plane that the lab has so many."""
        for node in ALL:
            text = etcd(lab(count), node).files["/etc/etcd/members"].content
            (self._folder / node.name / "etc/etcd/members").write_text(str(text))

    def start(self, *names: str) -> None:
        """Starts the etcds as their units do."""
        for node in ALL:
            if node.name in names:
                command = shlex.split(
                    _own(node, _unit(node).split("ExecStart=")[1].split("\n#")[0].replace("\\\n", ""))
                )
                arguments = [str(node.address), node.name, "/etcd/etcd", *command[1:]]
                program = self._command(node.name, "bash", "-c", _RUN, "bash", "/programs/etcd-member", *arguments)
                with (self._folder / f"{node.name}.log").open("ab") as log:
                    self._running[node.name] = subprocess.Popen(
                        program, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                    )

    def kill(self, name: str) -> None:
        """Ends an etcd at once, as if its machine lost power."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def reboot(self, name: str) -> None:
        """Empties what does not outlast a reboot."""
        shutil.rmtree(self._folder / name / "run")
        (self._folder / name / "run").mkdir()

    def lose_data(self, name: str) -> None:
        """Gives a control plane an empty disk."""
        self.reboot(name)
        shutil.rmtree(self._folder / name / "var/lib/etcd")
        (self._folder / name / "var/lib/etcd").mkdir()

    def await_healthy(self, *names: str) -> None:
        """Asks each for its health until all have it, as service transactions do side by side."""
        nodes = [node for node in ALL if node.name in names]
        wait_until(lambda: not [node for node in nodes if not self._healthy(node)], f"{names} are healthy")

    def _healthy(self, node: Node) -> bool:
        url = _own(node, ETCD_HEALTH)
        return self.run(node.name, "/programs/etcd-member", "healthy", str(node.address), url).returncode == 0

    def leave(self, name: str) -> subprocess.CompletedProcess[str]:
        """Has the first control plane take the etcd of another one out."""
        (address,) = (str(node.address) for node in ALL if node.name == name)
        return self.run(ALL[0].name, "/programs/etcd-member", "leave", address)

    def voters(self) -> set[str]:
        """The names of the members that vote, as the first control plane knows them."""
        listed = json.loads(self.etcdctl("control0", "member", "list", "--write-out=json"))["members"]
        return {member["name"] for member in listed if not member.get("isLearner")}

    def etcdctl(self, name: str, *arguments: str) -> str:
        """What etcdctl prints of an etcd."""
        (address,) = (str(node.address) for node in ALL if node.name == name)
        options = [f"--{kind}=/etc/etcd/{file}" for kind, file in _FILES.items()]
        options += [f"--endpoints=https://{address}:2379", "--command-timeout=20s"]
        result = self.run(name, "/etcd/etcdctl", *options, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on a control plane."""
        return subprocess.run(self._command(name, *command), capture_output=True, text=True, check=False)

    def said(self, name: str) -> str:
        """What an etcd has logged."""
        return (self._folder / f"{name}.log").read_text()

    def _command(self, name: str, *command: str) -> Sequence[str]:
        inside = (
            "nsenter",
            f"--net=/proc/{self._holder.pid}/ns/net",
            "unshare",
            "--mount",
            "bash",
            "-c",
            _ENTER,
            "bash",
        )
        return (*inside, str(self._folder / name), str(ASSETS / "node"), str(self._programs), *command)


_FILES = {"cacert": "ca.crt", "cert": "etcd.crt", "key": "etcd.key"}


def _unit(node: Node) -> str:
    return str(etcd(lab(3), node).files["/etc/systemd/system/etcd.service"].content)


def _own(node: Node, text: str) -> str:
    """A text with another loopback address for each control plane: here they share one network."""
    return text.replace("127.0.0.1", f"127.0.0.1{ALL.index(node)}")


def _make_certificates(folder: Path, addresses: Sequence[str]) -> None:
    names = ",".join(f"IP:{address}" for address in (*addresses, "127.0.0.1"))
    (folder / "extensions").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
    new = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
    for command in (
        f"{new} -x509 -days 2 -subj /CN=ca -keyout ca.key -out ca.crt",
        f"{new} -subj /CN=etcd -keyout etcd.key -out etcd.csr",
        "openssl x509 -req -days 2 -in etcd.csr -CA ca.crt -CAkey ca.key -extfile extensions -out etcd.crt",
    ):
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    """Three control planes, none of whose etcds has started yet."""
    found = binaries.ensure([("etcd", version("etcd"))])
    members = Members(tmp_path, found["etcd", version("etcd")].path.parent)
    yield members
    members.close()


def test_control_planes_that_are_made_together_all_become_members(members: Members) -> None:
    members.configure(3)
    members.start("control2", "control1", "control0")
    members.await_healthy("control0", "control1", "control2")
    assert members.voters() == {"control0", "control1", "control2"}


def test_control_planes_that_are_added_later_find_what_is_there(members: Members) -> None:
    members.configure(1)
    members.start("control0")
    members.await_healthy("control0")
    members.etcdctl("control0", "put", "written", "before")
    members.configure(3)
    members.start("control1", "control2")
    members.await_healthy("control1", "control2")
    assert members.voters() == {"control0", "control1", "control2"}
    assert members.etcdctl("control2", "get", "written", "--print-value-only").strip() == "before"


def test_those_that_leave_are_not_missed(members: Members) -> None:
    members.configure(3)
    members.start("control0", "control1", "control2")
    members.await_healthy("control0", "control1", "control2")
    members.configure(1)
    for name in ("control1", "control2"):
        left = members.leave(name)
        assert left.returncode == 0, left.stderr
        assert members.leave(name).returncode == 0, "leaving twice is an error"
    members.kill("control1")
    members.kill("control2")
    members.await_healthy("control0")
    assert members.voters() == {"control0"}
    members.etcdctl("control0", "put", "written", "after")


@pytest.mark.parametrize("name", ["control0", "control2"])
def test_one_that_has_lost_its_data_becomes_a_member_anew(members: Members, name: str) -> None:
    members.configure(3)
    members.start("control0", "control1", "control2")
    members.await_healthy("control0", "control1", "control2")
    members.etcdctl("control1", "put", "written", "before")
    members.kill(name)
    members.lose_data(name)
    members.start(name)
    members.await_healthy("control0", "control1", "control2")
    assert members.voters() == {"control0", "control1", "control2"}
    assert members.etcdctl(name, "get", "written", "--print-value-only").strip() == "before"


def test_one_that_was_cut_off_before_its_first_start_goes_on(members: Members) -> None:
    members.configure(1)
    members.start("control0")
    members.await_healthy("control0")
    members.configure(2)
    for _ in range(2):
        joined = members.run("control1", "/programs/etcd-member", "join", str(ALL[1].address), "control1")
        assert joined.returncode == 0, joined.stderr
    members.start("control1")
    members.await_healthy("control1")
    assert members.voters() == {"control0", "control1"}


def test_another_than_the_first_never_founds_a_cluster(members: Members) -> None:
    members.configure(3)
    members.start("control1")
    wait_until(lambda: "waiting to become a member" in members.said("control1"), "control1 says what it waits for")
    assert members.run("control1", "ls", "/var/lib/etcd").stdout == ""
    members.start("control0")
    members.await_healthy("control0", "control1")


def test_one_with_data_starts_after_a_reboot_without_asking_anybody(members: Members) -> None:
    members.configure(2)
    members.start("control0", "control1")
    members.await_healthy("control0", "control1")
    for name in ("control0", "control1"):
        members.kill(name)
        members.reboot(name)
    joined = members.run("control1", "/programs/etcd-member", "join", str(ALL[1].address), "control1")
    assert (joined.returncode, joined.stdout) == (0, "")
    members.start("control1", "control0")
    members.await_healthy("control0", "control1")
