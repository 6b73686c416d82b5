"""How control planes come to be members of etcd and leave it: `assets/node/etcd-member` with real etcds. Needs root."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.config.parse import parse
from lab.node.control_plane import ETCD_HEALTH, etcd
from lab.spec import Node, Spec
from lab.versions import version
from tests.support.node_programs import install
from tests.support.waiting import wait_until
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


def lab(addresses: Mapping[str, str]) -> Spec:
    """A lab of control planes, name to address."""
    nodes = [{"name": name, "address": address} for name, address in addresses.items()]
    return parse({"networkCidr": "10.99.0.0/24", "controlPlanes": nodes, "workers": []})


ADDRESSES = {f"control{number}": f"10.99.0.1{number}" for number in range(4)}
FREE = "10.99.0.20"
THREE = ("control0", "control1", "control2")


class Members:
    """The control planes' etcds, each with a file system of its own, and all in one network that nobody else sees."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self._folder, self._binaries = folder, binaries
        self._programs = install(folder / "programs", ETCDCTL="/etcd/etcdctl")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses = dict(ADDRESSES)
        addresses = [*ADDRESSES.values(), FREE]
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _HOLD, "sh", *addresses], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"ready\n", "no network of its own could be made: are you root?"
        certificates = folder / "certificates"
        certificates.mkdir()
        _make_certificates(certificates, addresses)
        for node in ADDRESSES:
            for path in ("usr", "proc", "dev", "programs", "etcd", "etc", "var/lib/etcd", "run", "tmp"):
                (folder / node / path).mkdir(parents=True)
            shutil.copytree(certificates, folder / node / "etc/etcd")
            for name in ("bin", "sbin", "lib", "lib64"):
                (folder / node / name).symlink_to(f"usr/{name}")

    def close(self) -> None:
        """Ends all."""
        for name in list(self._running):
            self.kill(name)
        self._holder.communicate()

    def configure(self, *names: str) -> None:
        """Tells each control plane of a lab which ones it has; those that it has not go on with what they were told."""
        spec = lab({name: self._addresses[name] for name in names})
        for node in spec.control_planes:
            text = etcd(spec, node).files["/etc/etcd/members"].content
            (self._folder / node.name / "etc/etcd/members").write_text(str(text))

    def make(self, *names: str) -> None:
        """Makes a lab: control planes that are members of etcd."""
        self.configure(*names)
        self.note_new(*names)
        self.start(*names)
        self.await_healthy(*names)

    def note_new(self, *names: str) -> None:
        """Tells the first control plane of some that they have no data."""
        for name in names:
            assert self.member("new", name, by=names[0]).returncode == 0

    def move(self, name: str) -> None:
        """Gives a control plane another address."""
        self._addresses[name] = FREE

    def start(self, *names: str) -> None:
        """Starts the etcds as their units do."""
        for name in names:
            (node,) = lab({name: self._addresses[name]}).control_planes
            line = _unit(node).split("ExecStart=")[1].split("\n#")[0].replace("\\\n", "")
            arguments = [str(node.address), name, "/etcd/etcd", *shlex.split(_own(name, line))[1:]]
            program = self._command(name, "bash", "-c", _RUN, "bash", "/programs/etcd-member", *arguments)
            with (self._folder / f"{name}.log").open("wb") as log:
                self._running[name] = subprocess.Popen(
                    program, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )

    def await_end(self, name: str) -> None:
        """Waits until an etcd has ended, as it does when it was taken out."""
        wait_until(lambda: self._running[name].poll() is not None, f"etcd of {name} has ended")
        del self._running[name]

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
        wait_until(lambda: not [name for name in names if self.ailment(name)], f"{names} are healthy")

    def ailment(self, name: str) -> str:
        """What is wrong with the etcd of a control plane; empty where it is healthy."""
        asked = self.member("healthy", name, _own(name, ETCD_HEALTH), by=name)
        return asked.stdout if asked.returncode else ""

    def leave(self, name: str, by: str = "control0") -> None:
        """Has a control plane take the etcd of another one, or its own, out."""
        left = self.member("leave", name, by=by)
        assert left.returncode == 0, left.stderr

    def member(self, verb: str, name: str, *arguments: str, by: str) -> subprocess.CompletedProcess[str]:
        """Runs `etcd-member` on a control plane for the membership of one."""
        return self.run(by, "/programs/etcd-member", verb, self._addresses[name], name, *arguments)

    def members(self) -> list[dict[str, Any]]:
        """The members, as the first control plane knows them."""
        listed: dict[str, Any] = json.loads(self.etcdctl("control0", "member", "list", "--write-out=json"))
        return list(listed["members"])

    def voters(self) -> set[str]:
        """The names of the members that vote."""
        return {member["name"] for member in self.members() if not member.get("isLearner")}

    def put(self, value: str) -> None:
        """Stores something."""
        self.etcdctl("control0", "put", "written", value)

    def read(self, name: str) -> str:
        """What is stored, as a control plane knows it."""
        return self.etcdctl(name, "get", "written", "--print-value-only").strip()

    def data(self, name: str) -> str:
        """The names of what an etcd keeps."""
        return self.run(name, "ls", "/var/lib/etcd").stdout

    def etcdctl(self, name: str, *arguments: str) -> str:
        """What etcdctl prints of an etcd."""
        options = [f"--{kind}=/etc/etcd/{file}" for kind, file in _FILES.items()]
        options += [f"--endpoints=https://{self._addresses[name]}:2379", "--command-timeout=20s"]
        result = self.run(name, "/etcd/etcdctl", *options, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on a control plane."""
        return subprocess.run(self._command(name, *command), capture_output=True, text=True, check=False)

    def said(self, name: str) -> str:
        """What an etcd has logged since it was started."""
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
        return (*inside, str(self._folder / name), str(self._programs), str(self._binaries), *command)


_FILES = {"cacert": "ca.crt", "cert": "etcd.crt", "key": "etcd.key"}


def _unit(node: Node) -> str:
    return str(etcd(lab({node.name: str(node.address)}), node).files["/etc/systemd/system/etcd.service"].content)


def _own(name: str, text: str) -> str:
    """A text with another loopback address for each control plane: here they share one network."""
    return text.replace("127.0.0.1", f"127.0.0.1{name[-1]}")


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
    """Four control planes, none of whose etcds has started yet."""
    found = binaries.ensure([("etcd", version("etcd"))])
    members = Members(tmp_path, found["etcd", version("etcd")].path.parent)
    yield members
    members.close()


def test_control_planes_that_are_made_together_all_become_members(members: Members) -> None:
    members.make("control2", "control1", "control0")
    assert members.voters() == set(THREE)


def test_control_planes_that_are_added_later_find_what_is_there(members: Members) -> None:
    members.make("control0")
    members.put("before")
    members.configure(*THREE)
    members.start("control1", "control2")
    members.await_healthy("control1", "control2")
    assert members.voters() == set(THREE)
    assert members.read("control2") == "before"


def test_those_that_leave_are_not_missed(members: Members) -> None:
    members.make(*THREE)
    members.configure("control0")
    for name in ("control1", "control2"):
        members.leave(name)
        members.leave(name)
        members.await_end(name)
    members.await_healthy("control0")
    assert members.voters() == {"control0"}
    members.put("after")


def test_one_of_two_leaves_by_itself_before_its_etcd_is_stopped(members: Members) -> None:
    members.make("control0", "control1")
    members.leave("control1", by="control1")
    members.await_end("control1")
    members.configure("control0")
    members.await_healthy("control0")
    members.put("after")


def test_the_last_one_has_nobody_to_leave(members: Members) -> None:
    members.make("control0", "control1")
    members.leave("control1", by="control1")
    members.await_end("control1")
    members.leave("control0")
    assert members.voters() == {"control0"}


def test_one_that_was_given_another_name_is_not_taken_out_by_its_former_one(members: Members) -> None:
    members.make("control0", "control1")
    left = members.run("control0", "/programs/etcd-member", "leave", ADDRESSES["control1"], "former")
    assert left.returncode == 0, left.stderr
    assert members.voters() == {"control0", "control1"}


@pytest.mark.parametrize("name", ["control0", "control2"])
def test_one_that_has_lost_its_data_becomes_a_member_anew(members: Members, name: str) -> None:
    members.make(*THREE)
    members.put("before")
    members.kill(name)
    members.lose_data(name)
    members.start(name)
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert members.read(name) == "before"


def test_one_that_has_lost_its_data_founds_no_second_cluster_while_the_others_are_silent(members: Members) -> None:
    members.make(*THREE)
    members.put("before")
    for name in THREE:
        members.kill(name)
        members.reboot(name)
    members.lose_data("control0")
    members.start("control0")
    wait_until(lambda: "may have data" in members.said("control0"), "control0 says what it waits for")
    assert members.data("control0") == ""
    members.start("control1", "control2")
    members.await_healthy(*THREE)
    assert members.read("control0") == "before"


def test_a_single_one_that_has_lost_its_data_founds_its_cluster_again(members: Members) -> None:
    members.make("control0")
    members.kill("control0")
    members.lose_data("control0")
    members.start("control0")
    members.await_healthy("control0")


def test_those_of_a_cluster_refuse_one_that_was_founded_in_its_place(members: Members) -> None:
    members.make("control0")
    members.configure(*THREE)
    members.start("control1", "control2")
    members.await_healthy(*THREE)
    members.put("before")
    for name in THREE:
        members.kill(name)
        members.reboot(name)
    members.lose_data("control0")
    members.note_new(*THREE)
    members.start("control0")
    members.await_healthy("control0")
    members.start("control1", "control2")
    wait_until(lambda: "is not the member that" in members.ailment("control0"), "control0 says that it is another")
    wait_until(
        lambda: "is not the member that" in members.ailment("control1"), "control1 says that control0 is another"
    )
    assert (members.read("control0"), members.read("control1"), members.read("control2")) == ("", "before", "before")


def test_one_that_was_cut_off_before_its_first_start_goes_on(members: Members) -> None:
    members.make("control0")
    members.configure("control0", "control1")
    for _ in range(2):
        joined = members.member("join", "control1", by="control1")
        assert joined.returncode == 0, joined.stderr
    members.start("control1")
    members.await_healthy("control1")
    assert members.voters() == {"control0", "control1"}


def test_one_whose_first_start_did_not_get_as_far_as_its_log_is_no_member_yet(members: Members) -> None:
    members.make("control0")
    members.configure("control0", "control1")
    assert members.member("join", "control1", by="control1").returncode == 0
    members.run("control1", "mkdir", "-p", "/var/lib/etcd/member/snap")
    members.reboot("control1")
    members.start("control1")
    members.await_healthy("control1")
    assert members.voters() == {"control0", "control1"}


@pytest.mark.parametrize("told", [True, False], ids=["and taken out", "and is never heard of again"])
def test_one_that_was_cut_off_and_given_up_does_not_keep_others_from_coming(members: Members, told: bool) -> None:
    members.make("control0")
    members.configure("control0", "control1")
    assert members.member("join", "control1", by="control1").returncode == 0
    members.configure("control0", "control2")
    if told:
        members.leave("control1")
    members.start("control2")
    members.await_healthy("control2")
    assert members.voters() == {"control0", "control2"}


def test_one_that_was_taken_out_becomes_a_member_again_by_what_it_had_on_its_disk(members: Members) -> None:
    members.make(*THREE)
    members.configure("control0", "control1")
    members.leave("control2")
    members.await_end("control2")
    members.put("since")
    members.configure(*THREE)
    members.start("control2")
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert members.read("control2") == "since"


def test_a_dead_one_makes_room_for_another(members: Members) -> None:
    members.make(*THREE)
    members.kill("control2")
    members.configure("control0", "control1", "control3")
    members.start("control3")
    members.await_healthy("control3")
    assert members.voters() == {"control0", "control1", "control3"}


def test_one_that_is_to_leave_stays_for_as_long_as_it_runs(members: Members) -> None:
    members.make(*THREE)
    members.configure("control0", "control1", "control3")
    members.start("control3")
    members.await_healthy("control3")
    assert members.voters() == {*THREE, "control3"}


@pytest.mark.parametrize("lost", [True, False], ids=["without its data", "with its data"])
def test_one_that_has_another_address_is_known_by_its_name(members: Members, lost: bool) -> None:
    members.make(*THREE)
    members.put("before")
    members.kill("control2")
    if lost:
        members.lose_data("control2")
    members.move("control2")
    members.configure(*THREE)
    members.start("control2")
    members.await_healthy(*THREE)
    assert members.voters() == set(THREE)
    assert [member["peerURLs"] for member in members.members() if member["name"] == "control2"] == [
        [f"https://{FREE}:2380"]
    ]
    assert members.read("control2") == "before"
    left = members.run("control0", "/programs/etcd-member", "leave", ADDRESSES["control2"], "control2")
    assert left.returncode == 0, left.stderr
    members.kill("control1")
    members.put("by two of three")


def test_another_than_the_first_never_founds_a_cluster(members: Members) -> None:
    members.configure(*THREE)
    members.start("control1")
    wait_until(lambda: "waiting to become a member" in members.said("control1"), "control1 says what it waits for")
    assert members.data("control1") == ""
    members.note_new(*THREE)
    members.start("control0")
    members.await_healthy("control0", "control1")


def test_those_with_data_start_after_a_reboot_whoever_answers(members: Members) -> None:
    members.make("control0", "control1")
    members.put("before")
    for name in ("control0", "control1"):
        members.kill(name)
        members.reboot(name)
    joined = members.member("join", "control1", by="control1")
    assert (joined.returncode, joined.stdout) == (0, "")
    members.start("control1")
    wait_until(lambda: "starting a new election" in members.said("control1"), "control1 looks for others")
    members.start("control0")
    members.await_healthy("control0", "control1")
    assert members.read("control0") == "before"
