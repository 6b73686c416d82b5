"""Control planes with real etcds, in a private network without VMs. Needs root."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.config.parse import parse
from lab.node.control_plane import ETCD_HEALTH, etcd
from lab.spec import Node, Spec
from lab.versions import version
from tests.support.certificates import VALID, pair
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
"""Enters the file system of a control plane, which writes to its own folder."""
_RUN = """
set -e
"$1" join "$2" "$3"
if [ -e /run/etcd-member.env ]; then set -a; . /run/etcd-member.env; set +a; fi
exec "${@:4}"
"""
"""Does the same as the systemd unit of etcd."""


def lab(addresses: Mapping[str, str]) -> Spec:
    """Return a lab of control planes, given as name to address."""
    nodes = [{"name": name, "address": address} for name, address in addresses.items()]
    return parse({"networkCidr": "10.99.0.0/24", "controlPlanes": nodes, "workers": []})


ADDRESSES = {f"control{number}": f"10.99.0.1{number}" for number in range(4)}
FREE = "10.99.0.20"
THREE = ("control0", "control1", "control2")


class Members:
    """The etcds of several control planes, each in its own file system, all in one private network."""

    def __init__(self, folder: Path) -> None:
        """Create the network and the file systems. No etcd has started yet.

        Args:
            folder: An empty folder.
        """
        self._folder = folder
        self._binaries = binaries.ensure([("etcd", version("etcd"))])["etcd", version("etcd")].path.parent
        self._programs = install(
            folder / "programs", ETCD="/etcd/etcd", ETCDCTL="/etcd/etcdctl", ETCDUTL="/etcd/etcdutl"
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._addresses = dict(ADDRESSES)
        addresses = [*ADDRESSES.values(), FREE]
        self._names = (*addresses, "127.0.0.1")
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _HOLD, "sh", *addresses], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"ready\n", "The network could not be created. This test needs root."
        for node in ADDRESSES:
            for path in ("usr", "proc", "dev", "programs", "etcd", "etc", "etc/etcd", "var/lib/etcd", "run", "tmp"):
                (folder / node / path).mkdir(parents=True)
            self.sign(node)
            shutil.copytree("/etc/alternatives", folder / node / "etc/alternatives", symlinks=True)
            for name in ("bin", "sbin", "lib", "lib64"):
                (folder / node / name).symlink_to(f"usr/{name}")

    def close(self) -> None:
        """End all etcds."""
        for name in list(self._running):
            self.kill(name)
        self._holder.communicate()

    def configure(self, *names: str) -> None:
        """Write the list of a lab's control planes to each of them. Other control planes keep their old list."""
        spec = lab({name: self._addresses[name] for name in names})
        for node in spec.control_planes:
            text = etcd(spec, node).files["/etc/etcd/members"].content
            (self._folder / node.name / "etc/etcd/members").write_text(str(text))

    def create(self, *names: str) -> None:
        """Create a lab of control planes that are members of etcd."""
        self.configure(*names)
        self.record_new(*names)
        self.start(*names)
        self.await_healthy(*names)

    def record_new(self, *names: str) -> None:
        """Record on the first control plane that these have no data."""
        for name in names:
            assert self.member("new", name, by=names[0]).returncode == 0

    def move(self, name: str) -> None:
        """Give a control plane another address."""
        self._addresses[name] = FREE

    def start(self, *names: str) -> None:
        """Start the etcds as their units do."""
        for name in names:
            (node,) = lab({name: self._addresses[name]}).control_planes
            line = _unit(node).split("ExecStart=")[1].split("\n#")[0].replace("\\\n", "")
            arguments = [str(node.address), name, "/etcd/etcd", *shlex.split(_with_own_loopback(name, line))[1:]]
            program = self._command(name, "bash", "-c", _RUN, "bash", "/programs/etcd-member", *arguments)
            with (self._folder / f"{name}.log").open("wb") as log:
                self._running[name] = subprocess.Popen(
                    program, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )

    def await_end(self, name: str) -> None:
        """Wait until an etcd has ended, as it does after its removal."""
        wait_until(lambda: self._running[name].poll() is not None, f"etcd of {name} has ended")
        del self._running[name]

    def kill(self, name: str) -> None:
        """Kill an etcd, as if its machine lost power."""
        process = self._running.pop(name)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def reboot(self, name: str) -> None:
        """Empty the folder that does not survive a reboot."""
        shutil.rmtree(self._folder / name / "run")
        (self._folder / name / "run").mkdir()

    def lose_data(self, name: str) -> None:
        """Give a control plane an empty disk."""
        self.reboot(name)
        shutil.rmtree(self._folder / name / "var/lib/etcd")
        (self._folder / name / "var/lib/etcd").mkdir()

    def sign(
        self, name: str, valid: tuple[datetime, datetime] = VALID, authority: tuple[datetime, datetime] = VALID
    ) -> None:
        """Give a control plane certificates. etcd reads them again for each new connection.

        Args:
            name: The control plane.
            valid: Begin and end of the validity of its certificate.
            authority: The same of the authority's certificate.
        """
        certificate, key = pair("etcd", issuer=_AUTHORITY, names=self._names, valid=valid)
        texts = {"cacert": pair(_AUTHORITY, valid=authority)[0], "cert": certificate, "key": key}
        for kind, file in _FILES.items():
            self.file(name, f"/etc/etcd/{file}").write_text(texts[kind])

    def restart(self, *names: str) -> None:
        """Restart etcds, so that they connect to each other again."""
        for name in names:
            self.kill(name)
        self.start(*names)

    def await_healthy(self, *names: str) -> None:
        """Wait until all are healthy, as service transactions do in parallel."""
        wait_until(lambda: not [name for name in names if self.problem(name)], f"{names} are healthy")

    def problem(self, name: str) -> str:
        """Return the problem of the etcd of a control plane; empty if it is healthy."""
        result = self.member("healthy", name, _with_own_loopback(name, ETCD_HEALTH), by=name)
        return result.stdout if result.returncode else ""

    def leave(self, name: str, by: str = "control0") -> None:
        """Remove the etcd of a control plane from the cluster.

        Args:
            name: The control plane that leaves.
            by: The control plane on which the program runs.
        """
        left = self.member("leave", name, by=by)
        assert left.returncode == 0, left.stderr

    def member(self, verb: str, name: str, *arguments: str, by: str) -> subprocess.CompletedProcess[str]:
        """Run `etcd-member` on a control plane, for itself or another one."""
        return self.run(by, "/programs/etcd-member", verb, self._addresses[name], name, *arguments)

    def cluster(self, name: str) -> str:
        """Return the ID of the cluster that a control plane belongs to."""
        found = self.member("cluster", name, by=name)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def members(self) -> list[dict[str, Any]]:
        """Return the members that the first control plane lists."""
        listed: dict[str, Any] = json.loads(self.etcdctl("control0", "member", "list", "--write-out=json"))
        return list(listed["members"])

    def voters(self) -> set[str]:
        """Return the names of the voting members."""
        return {member["name"] for member in self.members() if not member.get("isLearner")}

    def put(self, value: str) -> None:
        """Store a value."""
        self.etcdctl("control0", "put", "written", value)

    def read(self, name: str) -> str:
        """Return the stored value that a control plane has."""
        return self.etcdctl(name, "get", "written", "--print-value-only").strip()

    def data(self, name: str) -> str:
        """Return the names of the files in the data directory of an etcd."""
        return self.run(name, "ls", "/var/lib/etcd").stdout

    def etcdctl(self, name: str, *arguments: str) -> str:
        """Return the output of etcdctl for an etcd."""
        result = self.run(name, "/etcd/etcdctl", *self.options(name), *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def options(self, name: str) -> list[str]:
        """Return the options of etcdctl for an etcd."""
        options = [f"--{kind}=/etc/etcd/{file}" for kind, file in _FILES.items()]
        return [*options, f"--endpoints=https://{self._addresses[name]}:2379", "--command-timeout=20s"]

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on a control plane."""
        return subprocess.run(self._command(name, *command), capture_output=True, text=True, check=False)

    def replace(self, variable: str, script: str) -> None:
        """Replace etcd, etcdctl or etcdutl by a Bash script, for the programs on all control planes.

        Args:
            variable: The variable in `node.env` that has the path of the program.
            script: The script.
        """
        program = self._programs / f"fake-{variable.lower()}"
        program.write_text(f"#!/bin/bash\n{script}")
        program.chmod(0o755)
        with (self._programs / "node.env").open("a") as environment:
            environment.write(f"{variable}=/programs/{program.name}\n")

    def file(self, name: str, path: str) -> Path:
        """Return the path on this machine of a file of a control plane."""
        return self._folder / name / path.lstrip("/")

    def log(self, name: str) -> str:
        """Return the log of an etcd since its start."""
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


_AUTHORITY = "etcd-ca"
_FILES = {"cacert": "ca.crt", "cert": "etcd.crt", "key": "etcd.key"}


def _unit(node: Node) -> str:
    return str(etcd(lab({node.name: str(node.address)}), node).files["/etc/systemd/system/etcd.service"].content)


def _with_own_loopback(name: str, text: str) -> str:
    """Return the text with a separate loopback address for each control plane, because they share one network here."""
    return text.replace("127.0.0.1", f"127.0.0.1{name[-1]}")
