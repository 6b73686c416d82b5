"""A separate root file system with a fake systemd, in which `assets/node/service` and `confirm` run. Needs root."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.archive import Link, Packed, archive
from lab.node.paths import STORE
from lab.node.service import Artifact, Binary, Service, Snapshot, contents, digest, manifest
from lab.node.service import config_hash as hash_of
from lab.secrets import hidden_texts
from tests.support.node_programs import install

FAKE_PROGRAMS = Path(__file__).parent / "service_node"
UNIT = "tool.service"
STATE = "/var/lib/hardway/services/tool"
SUFFIX = ".hardway-new"
INTERRUPTIBLE_PROGRAMS = (
    "chmod",
    "chown",
    "cp",
    "ln",
    "mkdir",
    "mv",
    "rm",
    "sha256sum",
    "sync",
    "systemctl",
    "tar",
    "touch",
)
"""The programs at whose calls a run can be killed."""

_MAKE = """
set -e
mount -t tmpfs -o mode=755,size=2m tmpfs "$1"
cd "$1"
mkdir -p usr proc dev etc/systemd/system tmp test var/lib/hardway/store
for folder in bin sbin lib lib64; do if [ -e "/$folder" ]; then ln -s "usr/$folder" "$folder"; fi; done
mount --rbind /usr usr
mount -t tmpfs tmpfs usr/local
mount --rbind /proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs test
cp /etc/passwd /etc/group etc
mkdir etc/alternatives
cp --no-dereference /etc/alternatives/awk etc/alternatives
cd /
exec chroot "$1" sh -c 'echo ready; exec cat'
"""
"""As on a node, all folders are on one file system, because a hard link does not cross mounts."""


@dataclass(frozen=True)
class Run:
    """A run of the program.

    Attributes:
        code: The exit code, negative if the run was killed.
        output: The standard output.
        error: The error output.
        calls: The calls of `INTERRUPTIBLE_PROGRAMS`.
    """

    code: int
    output: str
    error: str
    calls: Sequence[str]

    @property
    def killed(self) -> bool:
        """True if the run was killed at the chosen call."""
        return self.code < 0


class Sandbox:
    """A root file system that is invisible outside, and that `close` deletes."""

    def __init__(self, mount_point: Path) -> None:
        mount_point.mkdir()
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", _MAKE, "bash", str(mount_point)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"ready\n", "The root file system needs root."
        self.root = Path(f"/proc/{self._holder.pid}/root")
        (self.root / "test/bin").mkdir()
        install(self.root / "test")
        for path in FAKE_PROGRAMS.iterdir():
            shutil.copy(path, self.root / "test")
        for name in INTERRUPTIBLE_PROGRAMS:
            (self.root / "test/bin" / name).symlink_to("/test/moment")
        self._program("sleep", "exec /usr/bin/sleep 0.01")
        self._program("journalctl", 'exec /test/journalctl "$@"')
        self._program("systemd-run", 'echo "$*" >>/test/timers')
        (self.root / "test/calls").write_text("0\n")

    def close(self) -> None:
        """Delete the sandbox. Assert that the program called systemctl only in ways that the fake knows."""
        unknown = self.root / "test/unknown"
        calls = unknown.read_text() if unknown.exists() else ""
        self._holder.communicate()
        assert calls == ""

    def _program(self, name: str, body: str) -> None:
        path = self.root / "test/bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def path(self, path: str) -> Path:
        """Return the path on this machine of a path of the node."""
        return self.root / path.removeprefix("/")

    def run(
        self, *arguments: str, stdin: str = "", kill: tuple[int, str] | None = None, program: str = "service"
    ) -> Run:
        """Run a program.

        Args:
            arguments: The arguments.
            stdin: The standard input.
            kill: The number of the call at which the run is killed, and `before` or `during` that call.
            program: The name of the program.
        """
        test = self.root / "test"
        (test / "calls").write_text("0\n")
        (test / "log").write_text("")
        (test / "journal").write_text("")
        if kill:
            (test / "kill").write_text(f"{kill[0]} {kill[1]}\n")
        # In a separate process group, because the kill ends the whole group.
        process = subprocess.run(
            ["nsenter", f"--target={self._holder.pid}", "--mount", "--root", "--wd", f"/test/{program}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env={"PATH": "/test/bin:/usr/bin:/usr/sbin"},
            start_new_session=True,
        )
        (test / "kill").unlink(missing_ok=True)
        calls = (test / "log").read_text().splitlines()
        return Run(process.returncode, process.stdout, process.stderr, calls)


class Node(Sandbox):
    """A node and its store."""

    def apply(
        self,
        service: Service,
        *,
        repair: str = "",
        cluster: str = "",
        timeout: int = 1,
        valid_from: float = 0,
        kill: tuple[int, str] | None = None,
    ) -> Run:
        """Apply a service as the components of the program do."""
        stdin = self.payload(service, repair, timeout, valid_from, cluster=cluster)
        return self.run("apply", service.name, stdin=stdin, kill=kill)

    def applied(self, service: Service, *, repair: str = "", cluster: str = "") -> str:
        """Apply a service successfully. Return the output."""
        result = self.apply(service, repair=repair, cluster=cluster)
        assert result.code == 0, result.error
        return result.output.strip()

    def remove(self, kill: tuple[int, str] | None = None) -> Run:
        """Remove the service."""
        return self.run("remove", "tool", kill=kill)

    def confirm(self, *arguments: str, kill: tuple[int, str] | None = None) -> Run:
        """Run `confirm`."""
        return self.run(*arguments, kill=kill, program="confirm")

    def timers(self) -> list[str]:
        """Return the arguments of `systemd-run` for each timer that was started and not stopped."""
        path = self.path("/test/timers")
        return path.read_text().splitlines() if path.exists() else []

    def payload(
        self,
        service: Service,
        repair: str = "",
        timeout: int = 1,
        valid_from: float = 0,
        *,
        cluster: str = "",
        config_hash: bool = True,
    ) -> str:
        """Return the payload of `service apply`, with or without its config hash and the ID of a cluster."""
        settings = {
            "unit": service.unit or "",
            "activation": service.activation,
            "check": service.check,
            "health": service.health,
            "drift": service.drift,
            "timeout": str(timeout),
            "repair": repair,
        }
        texts = contents(service, lambda credential: credential.identity)
        return archive(
            {"manifest": Packed(content=manifest_of(service).encode())}
            | ({"config-hash": Packed(content=hash_of(manifest_of(service)).encode())} if config_hash else {})
            | {name: Packed(content=text.encode()) for name, text in settings.items()}
            | {"valid-from": Packed(content=str(int(valid_from)).encode())}
            | ({"cluster": Packed(content=cluster.encode())} if cluster else {})
            | (
                {"state-files": Packed(content="".join(f"{path}\t{text}\n" for path, text in states.items()).encode())}
                if (states := service.state_files)
                else {}
            )
            | {"secrets": Packed(content="".join(f"{text}\n" for text in hidden_texts(service.secrets)).encode())}
            | {
                f"root{path}": Packed(content=texts[path].encode(), mode=file.mode, owner=file.owner)
                for path, file in service.files.items()
            }
            | {
                f"root{path}": Link(target=f"{STORE}/{digest(code(binary))}")
                for path, binary in binaries_of(service).items()
            }
        )

    def store(self, *binaries: Artifact) -> None:
        """Store binaries and images as `receive-binaries` does."""
        for binary in binaries:
            path = self.path(f"{STORE}/{digest(code(binary))}")
            path.write_text(code(binary))
            path.chmod(0o755)
            os.utime(path, (1, 1))

    def starts(self) -> int:
        """Return the number of starts of the unit."""
        return int(self.unit_property("invocations") or 0)

    def unit_property(self, name: str) -> str:
        """Return a property that the fake systemd has for the unit."""
        path = self.path(f"/test/units/{UNIT}/{name}")
        return path.read_text().strip() if path.exists() else ""

    def is_enabled(self) -> bool:
        """Return True if systemd starts the unit at boot."""
        return self.path(f"/etc/systemd/system/multi-user.target.wants/{UNIT}").is_symlink()

    def files(self) -> dict[str, tuple[str, int, str]]:
        """Return content, mode and owner of each file, except those of systemd and the program itself."""
        found = {}
        for folder in ("etc", "opt", "srv"):
            for path in (self.root / folder).rglob("*"):
                name = f"/{path.relative_to(self.root)}"
                if path.is_file() and not path.is_symlink() and name not in ("/etc/passwd", "/etc/group"):
                    status = path.stat()
                    owner = f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}"
                    found[name] = (path.read_text(), status.st_mode & 0o7777, owner)
        return found

    def leftovers(self) -> list[str]:
        """Return everything in the state of the service besides the applied version.

        Files that are beside their place are in `files`.
        """
        state = self.path(STATE)
        sent = [name for name in ("root", "sums", "secrets") if (state / "applied" / name).exists()]
        return sorted([path.name for path in state.iterdir() if path.name not in ("applied", "lock")] + sent)

    def assert_at(self, service: Service) -> None:
        """Assert that the node is as if only this version had ever been applied."""
        assert self.files() == files_of(service)
        assert self.leftovers() == []
        assert self.path(f"{STATE}/applied/manifest").read_text() == manifest_of(service)
        for path, binary in binaries_of(service).items():
            assert self.path(path).samefile(self.path(f"{STORE}/{digest(code(binary))}"))
        if service.unit:
            texts = contents(service, lambda credential: credential.identity)
            assert self.unit_property("active") == "active"
            assert self.is_enabled()
            assert self.unit_property("started") == texts[f"/etc/systemd/system/{UNIT}"].strip()
            assert self.unit_property("loaded") == texts[f"/etc/systemd/system/{UNIT}"].strip()
            assert self.unit_property("configuration") == texts["/etc/tool/configuration"].strip()
            assert self.unit_property("program") == code(service.binaries["/opt/tool/bin/tool"]).strip()

    def assert_gone(self) -> None:
        """Assert that nothing of the service is on the node."""
        assert self.files() == {}
        assert not self.path(STATE).exists()
        assert self.unit_property("active") in ("inactive", "")
        assert not self.is_enabled()
        assert self.unit_property("loaded") == ""

    def leave_free(self, blocks: int) -> None:
        """Fill the disk except for a number of blocks of 4096 bytes."""
        missing = os.statvfs(self.root).f_bavail - blocks
        self.path("/filler").write_bytes(bytes(4096 * missing))
        assert os.statvfs(self.root).f_bavail == blocks

    def free(self) -> None:
        """Free the space that `leave_free` filled."""
        self.path("/filler").unlink()

    def watched(self, service: Service, paths: Iterable[str]) -> Mapping[str, set[str]]:
        """Apply a service. Return the digests of each path at all calls; `missing` stands for no file."""
        test = self.root / "test"
        (test / "watch").write_text("".join(f"{path}\n" for path in paths))
        self.apply(service)
        seen: dict[str, set[str]] = {}
        for line in (test / "seen").read_text().splitlines():
            found, _, path = line.partition("  ")
            seen.setdefault(path, set()).add(found)
        (test / "watch").unlink()
        (test / "seen").unlink()
        return seen


def binaries_of(service: Service) -> Mapping[str, Binary | Snapshot]:
    """Return the binaries and tools of a service by path."""
    return {**service.binaries, **service.tools}


def code(binary: Artifact) -> str:
    """Return the content of a binary."""
    return f"#!/bin/sh\n# {binary.name} {binary.version}\n"


def manifest_of(service: Service) -> str:
    """Return the manifest of a service."""
    return manifest(service, lambda credential: credential.identity, lambda binary: digest(code(binary)))


def files_of(service: Service) -> Mapping[str, tuple[str, int, str]]:
    """Return content, mode and owner of each file of a service, by path."""
    texts = contents(service, lambda credential: credential.identity)
    return {path: (texts[path], file.mode, file.owner) for path, file in service.files.items()} | {
        path: (code(binary), 0o755, "root:root") for path, binary in binaries_of(service).items()
    }
