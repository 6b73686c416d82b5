"""The Go toolchain that builds what no release gives: an installed one, the official release, or its Go module."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.versions import Go
from lab.versions import go as wanted_go
from system.commands import run
from system.console import say
from system.errors import ToolchainError
from toolchain.cache import Cache, key, sha256
from toolchain.release import NotAvailableError, ReleaseHosts

DEBIAN_PACKAGE = "golang-go"
"""Debian's Go, too old to build with, but a client that fetches a newer one as a module and checks it."""
USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")


@dataclass(frozen=True)
class Patch:
    """A text in a file of a required module, and what is built in its place: for a fault that no release mends."""

    module: str
    file: str
    before: str
    after: str


@dataclass(frozen=True)
class Compiler:
    """A Go command and its version (`1.26.8`)."""

    program: Path
    version: str

    def build(
        self,
        module: Path,
        package: str,
        target: Path,
        *,
        tags: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        cgo: bool = False,
        patches: Sequence[Patch] = (),
    ) -> None:
        """Builds a package of the module in a folder: static, stripped, without the builder's paths.

        variables: string variables set by the linker. cgo: C code is linked, statically too. patches: what is built
        otherwise than the modules have it. Raises ToolchainError.
        """
        flags = ["-s", "-w"]
        if cgo:
            flags += ["-linkmode=external", "-extldflags=-static"]
        for name, value in (variables or {}).items():
            flags.append(f"-X={name}={value}")
        command = ["build", "-trimpath", "-buildvcs=false", f"-tags={','.join(tags)}", f"-ldflags={' '.join(flags)}"]
        with tempfile.TemporaryDirectory() as folder:
            patched = [f"-modfile={self._patched(module, patches, Path(folder))}"] if patches else []
            run(
                [*_politely(), self.program, *command, *patched, "-o", target, package],
                why=f"building {package}",
                folder=module,
                environment={
                    "CGO_ENABLED": "1" if cgo else "0",
                    "GOFLAGS": "",
                    "GOTOOLCHAIN": "local",
                    "GOWORK": "off",
                },
            )

    def _patched(self, module: Path, patches: Sequence[Patch], folder: Path) -> Path:
        """Copies what is patched into a folder, and writes the module file there that has the copies in its place."""
        for name in ("go.mod", "go.sum"):
            shutil.copyfile(module / name, folder / name)
        for patch in patches:
            copy = folder / patch.module
            if not copy.exists():
                shutil.copytree(self.module_folder(module, patch.module), copy, copy_function=shutil.copyfile)
                replace = f"-replace={patch.module}={copy}"
                run([self.program, "mod", "edit", replace, folder / "go.mod"], why=f"patching {patch.module}")
            text = (copy / patch.file).read_text()
            if text.count(patch.before) != 1:
                raise ToolchainError(f"{patch.module}: {patch.file} has changed, and the patch to it does not fit.")
            (copy / patch.file).write_text(text.replace(patch.before, patch.after))
        return folder / "go.mod"

    def module_folder(self, module: Path, path: str) -> Path:
        """Where the sources of a module are that `module` requires. Raises ToolchainError."""
        run([self.program, "mod", "download", path], why=f"fetching {path}", folder=module)
        command: list[str | Path] = [self.program, "list", "-m", "-f", "{{.Dir}}", path]
        return Path(run(command, why=f"finding {path}", folder=module).strip())


def installed(minimum: str) -> Compiler | None:
    """A Go on this machine of at least that version, if there is one."""
    return next((go for go in _installed() if _numbers(go.version) >= _numbers(minimum)), None)


def compiler(cache: Cache, hosts: ReleaseHosts) -> Compiler:
    """A Go that is new enough, fetched if need be. Raises ToolchainError where none can be had."""
    wanted = wanted_go()
    found = installed(wanted.minimum)
    if found is not None:
        return found
    entry = cache.make(
        key("go", version=wanted.version, module_sha256=wanted.module_sha256),
        lambda folder: _fetch(wanted, hosts, folder),
    )
    return Compiler(entry.path("go/bin/go"), wanted.version)


def required_packages() -> dict[str, str]:
    """The Debian packages needed to get hold of a Go toolchain, with the reason for each."""
    if next(_installed(), None) is not None:
        return {}
    return {DEBIAN_PACKAGE: "a client that fetches the Go toolchain which builds what no release can be reached for"}


def _fetch(wanted: Go, hosts: ReleaseHosts, folder: Path) -> str:
    try:
        say(f"Go {wanted.version}: fetching the official release, no installed Go is {wanted.minimum} or newer")
        archive = folder / "release"
        hosts.fetch(wanted.release, archive)
        run(["tar", "--extract", "--file", archive, "--directory", folder], why="unpacking Go")
        archive.unlink()
        return "official release"
    except NotAvailableError as reason:
        client = next(_installed(), None)
        if client is None:
            raise ToolchainError(
                f"Go {wanted.minimum} or newer is needed to build what no official release can be reached for, and "
                f"none is here ({reason}). Install it, or any older Go (Debian's {DEBIAN_PACKAGE}), which can fetch it."
            ) from None
        say(f"Go {wanted.version}: fetching it as a Go module by Go {client.version} ({reason})")
        return _fetch_module(client, wanted, folder)


def _fetch_module(client: Compiler, wanted: Go, folder: Path) -> str:
    module_cache = folder / "modules"
    run(
        [client.program, "mod", "download", wanted.module],
        why=f"fetching {wanted.module}",
        folder=folder,
        environment={"GOMODCACHE": str(module_cache), "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"},
    )
    path, _, version = wanted.module.partition("@")
    archive = module_cache / "cache/download" / path / "@v" / f"{version}.zip"
    digest = sha256(archive)
    if digest != wanted.module_sha256:
        raise ToolchainError(f"{wanted.module}: its SHA-256 is {digest}, but {wanted.module_sha256} is expected.")
    unpacked = folder / "unpacked"
    with zipfile.ZipFile(archive) as file:
        file.extractall(unpacked)
    (unpacked / wanted.module).rename(folder / "go")
    for directory in ("go/bin", "go/pkg/tool"):
        for program in (folder / directory).rglob("*"):
            program.chmod(0o755)  # modules carry no modes
    shutil.rmtree(module_cache)
    shutil.rmtree(unpacked)
    return "Go module"


def _installed() -> Iterator[Compiler]:
    on_path = shutil.which("go")
    for place in dict.fromkeys([*([on_path] if on_path else []), *USUAL_PLACES]):
        if os.access(place, os.X_OK):
            environment = {"GOTOOLCHAIN": "local"}
            text = run([place, "version"], why="asking Go for its version", folder=Path("/"), environment=environment)
            match = re.search(r"\bgo(\d+(?:\.\d+)+)", text)
            if match:
                yield Compiler(Path(place), match[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))


def _politely() -> list[str]:
    return ["nice", "-n", "5"]
