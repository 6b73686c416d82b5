"""The Go toolchain, and builds with it. It is an installed Go, the official release, or the Go module `toolchain`."""

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
from lab.versions import go as required_go
from system.commands import run
from system.console import progress, say
from system.errors import ToolchainError
from toolchain.cache import Cache, key, sha256
from toolchain.release import NotAvailableError, ReleaseHosts

DEBIAN_PACKAGE = "golang-go"
"""Debian's Go is too old for the builds, but it can download a newer Go as a module and check it."""
INSTALL_LOCATIONS = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")

LOW_PRIORITY = ("nice", "-n", "5")
"""Before a command that takes minutes, so that the machine stays responsive."""


@dataclass(frozen=True)
class Patch:
    """A replacement in the source of a required module. It fixes a bug that no release of the module fixes.

    Attributes:
        module: Path of the Go module.
        file: Path of the file within the module.
        before: Text that occurs exactly once in the file.
        after: The replacement.
    """

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
        title: str = "",
    ) -> None:
        """Build a program: static, stripped, and without paths of this machine.

        Args:
            module: The folder of the Go module that requires the package.
            package: The Go package of the program.
            target: The path of the program.
            tags: Build tags.
            variables: String variables that the linker sets.
            cgo: Link C code, also statically.
            patches: Changes to the sources of required modules.
            title: The name and version that messages show; by default the package.

        Raises:
            ToolchainError: The build failed, or a patch does not fit.
        """
        linker_flags = ["-s", "-w"]
        if cgo:
            linker_flags += ["-linkmode=external", "-extldflags=-static"]
        for name, value in (variables or {}).items():
            linker_flags.append(f"-X={name}={value}")
        flags = ["-trimpath", "-buildvcs=false", f"-tags={','.join(tags)}", f"-ldflags={' '.join(linker_flags)}"]
        environment = {
            "CGO_ENABLED": "1" if cgo else "0",
            "GOFLAGS": "",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }
        title = title or package
        with tempfile.TemporaryDirectory() as folder:
            if patches:
                flags.append(f"-modfile={self._patched(module, patches, Path(folder))}")
            packages = self._packages_to_compile(module, package, flags, environment, title)
            with progress(f"{title}: compiling packages", len(packages)) as task:

                def count(line: str) -> None:
                    if line in packages:
                        task.advance()

                run(
                    [*LOW_PRIORITY, self.program, "build", "-v", *flags, "-o", target, package],
                    why=f"building {title}",
                    folder=module,
                    environment=environment,
                    on_line=count,
                )

    def _packages_to_compile(
        self, module: Path, package: str, flags: Sequence[str], environment: Mapping[str, str], title: str
    ) -> set[str]:
        """Return the packages that Go's build cache does not have. As a side effect, download the required modules."""
        template = "{{if .Stale}}{{.ImportPath}}{{end}}"
        with progress(f"{title}: downloading Go modules") as task:

            def count(line: str) -> None:
                if line.startswith("go: downloading "):
                    task.advance()

            listing = run(
                [self.program, "list", "-deps", *flags, "-f", template, package],
                why=f"listing the packages of {title}",
                folder=module,
                environment=environment,
                on_line=count,
            )
        return set(listing.split())

    def _patched(self, module: Path, patches: Sequence[Patch], folder: Path) -> Path:
        """Copy the patched modules into a folder, and return the path of a go.mod that uses the copies."""
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
                raise ToolchainError(f"{patch.module}: the patch to {patch.file} does not fit its current source.")
            (copy / patch.file).write_text(text.replace(patch.before, patch.after))
        return folder / "go.mod"

    def module_folder(self, module: Path, path: str) -> Path:
        """Return the folder with the sources of a required module, and download them if necessary.

        Args:
            module: The folder of the module that has the requirement.
            path: The path of the required module.

        Raises:
            ToolchainError: The module cannot be downloaded.
        """
        run([self.program, "mod", "download", path], why=f"downloading the Go module {path}", folder=module)
        command: list[str | Path] = [self.program, "list", "-m", "-f", "{{.Dir}}", path]
        return Path(run(command, why=f"locating the Go module {path}", folder=module).strip())


def installed(minimum: str) -> Compiler | None:
    """Return an installed Go of at least the given version, or None."""
    return next((go for go in _installed_compilers() if _numbers(go.version) >= _numbers(minimum)), None)


def compiler(cache: Cache, hosts: ReleaseHosts) -> Compiler:
    """Return a Go that is new enough, and download one if none is installed.

    Raises:
        ToolchainError: No Go is installed, and none can be downloaded.
    """
    required = required_go()
    compiler = installed(required.minimum)
    if compiler is not None:
        return compiler
    entry = cache.make(
        key("go", version=required.version, module_sha256=required.module_sha256),
        lambda folder: _fetch(required, hosts, folder),
    )
    return Compiler(entry.path("go/bin/go"), required.version)


def required_packages() -> dict[str, str]:
    """Return the Debian packages needed to get a Go toolchain, with the reason for each."""
    if next(_installed_compilers(), None) is not None:
        return {}
    return {DEBIAN_PACKAGE: "downloads the Go toolchain for programs whose official release cannot be reached"}


def _fetch(required: Go, hosts: ReleaseHosts, folder: Path) -> str:
    try:
        say(f"Go {required.version}: downloading the official release; no installed Go is {required.minimum} or newer")
        archive = folder / "release"
        hosts.fetch(required.release, archive)
        run(["tar", "--extract", "--file", archive, "--directory", folder], why="unpacking Go")
        archive.unlink()
        return "official release"
    except NotAvailableError as reason:
        client = next(_installed_compilers(), None)
        if client is None:
            raise ToolchainError(
                f"Go {required.minimum} or newer is needed to build programs whose official release cannot be reached. "
                f"It is not installed and cannot be downloaded ({reason}). Install it, or install any older Go, which "
                f"can download it (Debian's package {DEBIAN_PACKAGE})."
            ) from None
        say(f"Go {required.version}: downloading it as a Go module with Go {client.version} ({reason})")
        return _fetch_module(client, required, folder)


def _fetch_module(client: Compiler, required: Go, folder: Path) -> str:
    module_cache = folder / "modules"
    run(
        [client.program, "mod", "download", required.module],
        why=f"downloading the Go module {required.module}",
        folder=folder,
        environment={"GOMODCACHE": str(module_cache), "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"},
    )
    path, _, version = required.module.partition("@")
    archive = module_cache / "cache/download" / path / "@v" / f"{version}.zip"
    digest = sha256(archive)
    if digest != required.module_sha256:
        raise ToolchainError(
            f"{required.module}: the SHA-256 of the Go module is {digest}, but {required.module_sha256} is expected. "
            "The module proxy does not serve the published module; set GOPROXY to another one."
        )
    unpacked = folder / "unpacked"
    with zipfile.ZipFile(archive) as file:
        file.extractall(unpacked)
    (unpacked / required.module).rename(folder / "go")
    for directory in ("go/bin", "go/pkg/tool"):
        for program in (folder / directory).rglob("*"):
            program.chmod(0o755)  # Module archives have no file modes.
    shutil.rmtree(module_cache)
    shutil.rmtree(unpacked)
    return "Go module"


def _installed_compilers() -> Iterator[Compiler]:
    on_path = shutil.which("go")
    for location in dict.fromkeys([*([on_path] if on_path else []), *INSTALL_LOCATIONS]):
        if os.access(location, os.X_OK):
            environment = {"GOTOOLCHAIN": "local"}
            text = run(
                [location, "version"], why="reading the version of Go", folder=Path("/"), environment=environment
            )
            match = re.search(r"\bgo(\d+(?:\.\d+)+)", text)
            if match:
                yield Compiler(Path(location), match[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
