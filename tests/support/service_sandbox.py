"""A root file system of its own, with a systemd that only pretends, in which `assets/node/service` runs. Needs root."""

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
from lab.node.service import Binary, Image, Service, contents, digest, manifest
from lab.node.service import config_hash as hash_of
from tests.support.node_programs import install

PRETENDERS = Path(__file__).parent / "service_node"
UNIT = "tool.service"
STATE = "/var/lib/hardway/services/tool"
SUFFIX = ".hardway-new"
MOMENTS = ("chmod", "chown", "cp", "ln", "mkdir", "mv", "rm", "sha256sum", "sync", "systemctl", "tar", "touch")
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
cd /
exec chroot "$1" sh -c 'echo ready; exec cat'
"""
"""Everything that a node has on one file system is on one here, too: a hard link does not cross mounts."""


@dataclass(frozen=True)
class Run:
    """One run of the program. calls: the programs that it called, of those that change something."""

    code: int
    output: str
    error: str
    calls: Sequence[str]

    @property
    def killed(self) -> bool:
        """Whether it was killed at the moment that was chosen."""
        return self.code < 0


class Sandbox:
    """The root file system; nothing of it is seen outside, and it goes when the sandbox is closed."""

    def __init__(self, mount_point: Path) -> None:
        mount_point.mkdir()
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", _MAKE, "bash", str(mount_point)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout
        assert self._holder.stdout.readline() == b"ready\n", "no root file system could be made: are you root?"
        self.root = Path(f"/proc/{self._holder.pid}/root")
        (self.root / "test/bin").mkdir()
        install(self.root / "test")
        for path in PRETENDERS.iterdir():
            shutil.copy(path, self.root / "test")
        for name in MOMENTS:
            (self.root / "test/bin" / name).symlink_to("/test/moment")
        self._program("sleep", "exec /usr/bin/sleep 0.01")
        self._program("journalctl", "cat /test/journal")
        (self.root / "test/calls").write_text("0\n")

    def close(self) -> None:
        """Ends it, and sees to it that the program asked systemd for nothing that the one here does not know."""
        unknown = self.root / "test/unknown"
        asked = unknown.read_text() if unknown.exists() else ""
        self._holder.communicate()
        assert asked == ""

    def _program(self, name: str, body: str) -> None:
        path = self.root / "test/bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    def path(self, path: str) -> Path:
        """Where the tests find a path of the node."""
        return self.root / path.removeprefix("/")

    def run(self, *arguments: str, stdin: str = "", kill: tuple[int, str] | None = None) -> Run:
        """Runs the program. kill: the number of the call at which it is killed, and `before` or `during` that call."""
        test = self.root / "test"
        (test / "calls").write_text("0\n")
        (test / "log").write_text("")
        (test / "journal").write_text("")
        if kill:
            (test / "kill").write_text(f"{kill[0]} {kill[1]}\n")
        # In a process group of its own, which is what the kill ends.
        process = subprocess.run(
            ["nsenter", f"--target={self._holder.pid}", "--mount", "--root", "--wd", "/test/service", *arguments],
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
        self, service: Service, *, repair: str = "", timeout: int = 1, kill: tuple[int, str] | None = None
    ) -> Run:
        """Applies a service as the program's components do."""
        return self.run("apply", service.name, stdin=self.payload(service, repair, timeout), kill=kill)

    def applied(self, service: Service, *, repair: str = "") -> str:
        """Applies a service, which must succeed; returns what was done."""
        result = self.apply(service, repair=repair)
        assert result.code == 0, result.error
        return result.output.strip()

    def remove(self, kill: tuple[int, str] | None = None) -> Run:
        """Removes the service."""
        return self.run("remove", "tool", kill=kill)

    def payload(self, service: Service, repair: str = "", timeout: int = 1, *, config_hash: bool = True) -> str:
        """Return the payload of `service apply`, with or without its config hash."""
        settings = {
            "unit": service.unit or "",
            "activation": service.activation,
            "check": service.check,
            "health": service.health,
            "timeout": str(timeout),
            "repair": repair,
        }
        texts = contents(service, lambda credential: credential.identity)
        return archive(
            {"manifest": Packed(content=listing(service).encode())}
            | ({"config-hash": Packed(content=hash_of(listing(service)).encode())} if config_hash else {})
            | {name: Packed(content=text.encode()) for name, text in settings.items()}
            | {
                f"root{path}": Packed(content=texts[path].encode(), mode=file.mode, owner=file.owner)
                for path, file in service.files.items()
            }
            | {f"root{path}": Link(target=f"{STORE}/{digest(code(it))}") for path, it in binaries_of(service).items()}
        )

    def store(self, *binaries: Binary | Image) -> None:
        """Puts binaries and images into the store as `receive-binaries` does."""
        for binary in binaries:
            path = self.path(f"{STORE}/{digest(code(binary))}")
            path.write_text(code(binary))
            path.chmod(0o755)
            os.utime(path, (1, 1))

    def starts(self) -> int:
        """How often the unit was started since there was one."""
        return int(self.of_unit("invocations") or 0)

    def of_unit(self, what: str) -> str:
        """What systemd knows of the unit."""
        path = self.path(f"/test/units/{UNIT}/{what}")
        return path.read_text().strip() if path.exists() else ""

    def is_enabled(self) -> bool:
        """Whether systemd starts the unit at boot."""
        return self.path(f"/etc/systemd/system/multi-user.target.wants/{UNIT}").is_symlink()

    def files(self) -> dict[str, tuple[str, int, str]]:
        """Content, mode and owner of each file that is not systemd's or the program's own."""
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
        """What is in the state of the service beside what was applied; files about to take their place are `files`."""
        state = self.path(STATE)
        sent = [name for name in ("root", "sums") if (state / "applied" / name).exists()]
        return sorted([path.name for path in state.iterdir() if path.name not in ("applied", "lock")] + sent)

    def assert_at(self, service: Service) -> None:
        """The node is as if this version alone had ever been applied to it."""
        assert self.files() == files_of(service)
        assert self.leftovers() == []
        assert self.path(f"{STATE}/applied/manifest").read_text() == listing(service)
        for path, binary in binaries_of(service).items():
            assert self.path(path).samefile(self.path(f"{STORE}/{digest(code(binary))}"))
        if service.unit:
            texts = contents(service, lambda credential: credential.identity)
            assert self.of_unit("active") == "active"
            assert self.is_enabled()
            assert self.of_unit("started") == texts[f"/etc/systemd/system/{UNIT}"].strip()
            assert self.of_unit("loaded") == texts[f"/etc/systemd/system/{UNIT}"].strip()
            assert self.of_unit("configuration") == texts["/etc/tool/configuration"].strip()
            assert self.of_unit("program") == code(service.binaries["/opt/tool/bin/tool"]).strip()

    def assert_gone(self) -> None:
        """Nothing of the service is on the node."""
        assert self.files() == {}
        assert not self.path(STATE).exists()
        assert self.of_unit("active") in ("inactive", "")
        assert not self.is_enabled()
        assert self.of_unit("loaded") == ""

    def leave_free(self, blocks: int) -> None:
        """Fills the disk but for so many blocks of 4096 bytes."""
        missing = os.statvfs(self.root).f_bavail - blocks
        self.path("/filler").write_bytes(bytes(4096 * missing))
        assert os.statvfs(self.root).f_bavail == blocks

    def free(self) -> None:
        """Gives the space back that `leave_free` took."""
        self.path("/filler").unlink()

    def watched(self, service: Service, paths: Iterable[str]) -> Mapping[str, set[str]]:
        """Applies a service; returns the digests that each path had at its calls, `missing` where it was not there."""
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


def binaries_of(service: Service) -> Mapping[str, Binary]:
    """Return the binaries and tools of a service by path."""
    return {**service.binaries, **service.tools}


def code(binary: Binary | Image) -> str:
    """The content of a binary."""
    return f"#!/bin/sh\n# {binary.name} {binary.version}\n"


def listing(service: Service) -> str:
    """The manifest of a service."""
    return manifest(service, lambda credential: credential.identity, lambda binary: digest(code(binary)))


def files_of(service: Service) -> Mapping[str, tuple[str, int, str]]:
    """Content, mode and owner of each file that a service is made of."""
    texts = contents(service, lambda credential: credential.identity)
    return {path: (texts[path], file.mode, file.owner) for path, file in service.files.items()} | {
        path: (code(binary), 0o755, "root:root") for path, binary in binaries_of(service).items()
    }
