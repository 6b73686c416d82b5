"""The Go that builds: an installed one that is new enough, the official release, or the Go module."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from lab import versions
from system.errors import ToolchainError
from toolchain import golang, packages
from toolchain.cache import Cache
from toolchain.golang import Compiler
from toolchain.release import ReleaseHosts

REQUIRED = versions.go()
NO_HOSTS = {"go.dev": "", "dl.google.com": ""}
MODULE, _, MODULE_VERSION = REQUIRED.module.partition("@")


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Go is installed, except one that a test puts into the returned folder."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(golang, "INSTALL_LOCATIONS", ())
    return folder


def install(folder: Path, version: str, module: Path | None = None) -> Path:
    """Install a fake Go that prints its version. It can download the given zip file of a module."""
    program = folder / "go"
    target = f"$GOMODCACHE/cache/download/{MODULE}/@v"
    program.write_text(
        f"""#!/bin/sh
case $1 in
version) echo "go version go{version} linux/amd64" ;;
mod) mkdir -p "{target}" && cp "{module}" "{target}/{MODULE_VERSION}.zip" ;;
esac
"""
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """The Go module `toolchain`: a zip file without modes."""
    archive = tmp_path / "module.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{REQUIRED.module}/bin/go", "the compiler")
        file.writestr(f"{REQUIRED.module}/pkg/tool/linux_amd64/compile", "its tool")
    return archive


def compiler_with(module_sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    monkeypatch.setattr(golang, "required_go", lambda: replace(REQUIRED, module_sha256=module_sha256))
    return golang.compiler(Cache(tmp_path / "cache"), ReleaseHosts(NO_HOSTS))


@pytest.mark.parametrize("version", [REQUIRED.minimum, REQUIRED.version, "1.100", "2.0"])
def test_new_enough_go_is_used(path: Path, tmp_path: Path, version: str) -> None:
    program = install(path, version)
    compiler = golang.compiler(Cache(tmp_path / "cache"), ReleaseHosts(NO_HOSTS))
    assert compiler == Compiler(program, version)
    assert golang.required_packages() == {}


@pytest.mark.parametrize("version", ["1.19.8", "1.26", "1.26.5", "0.9"])
def test_old_go_does_not_build(path: Path, version: str) -> None:
    install(path, version)
    assert golang.installed(REQUIRED.minimum) is None


def test_old_go_downloads_the_new_module(
    path: Path, tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(path, "1.19.8", module)
    compiler = compiler_with(hashlib.sha256(module.read_bytes()).hexdigest(), tmp_path, monkeypatch)
    assert compiler.version == REQUIRED.version
    assert compiler.program.read_text() == "the compiler"
    assert compiler.program.stat().st_mode & 0o111
    assert (compiler.program.parents[1] / "pkg/tool/linux_amd64/compile").stat().st_mode & 0o111


def test_module_with_wrong_digest_is_rejected(
    path: Path, tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(path, "1.19.8", module)
    with pytest.raises(ToolchainError, match="SHA-256"):
        compiler_with("0" * 64, tmp_path, monkeypatch)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.name == "go"]


def test_missing_go_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=rf"Go {REQUIRED.minimum} or newer .*{golang.DEBIAN_PACKAGE}"):
        golang.compiler(Cache(tmp_path / "cache"), ReleaseHosts(NO_HOSTS))
    assert list(golang.required_packages()) == [golang.DEBIAN_PACKAGE]


def test_patch_replaces_text_in_a_copy(tmp_path: Path) -> None:
    source = tmp_path / "sources"
    source.mkdir()
    (source / "rpc.go").write_text("c := make(chan int)\n")
    for name in ("go.mod", "go.sum"):
        (tmp_path / name).touch()
    go = tmp_path / "go"
    go.write_text(
        f"""#!/bin/sh
for word; do
    case $word in
    list) echo {source} ;;
    -replace=*) echo "$word" >{tmp_path}/replaced ;;
    -modfile=*) cp "$(dirname "${{word#-modfile=}}")"/example.org/m/rpc.go {tmp_path} ;;
    esac
done
"""
    )
    go.chmod(0o755)
    patch = golang.Patch(module="example.org/m", file="rpc.go", before="make(chan int)", after="make(chan int, 1)")
    Compiler(go, "1.26.8").build(tmp_path, "./x", tmp_path / "x", patches=[patch])
    assert (tmp_path / "rpc.go").read_text() == "c := make(chan int, 1)\n"
    assert (tmp_path / "replaced").read_text().startswith("-replace=example.org/m=")
    assert (source / "rpc.go").read_text() == "c := make(chan int)\n"
    with pytest.raises(ToolchainError, match=r"the patch to rpc\.go does not fit"):
        Compiler(go, "1.26.8").build(tmp_path, "./x", tmp_path / "x", patches=[replace(patch, before="nothing")])


def test_go_is_required_only_for_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert golang.DEBIAN_PACKAGE not in packages.required_packages(vms=True)
    assert golang.DEBIAN_PACKAGE in packages.build_packages()


def test_build_reports_compiled_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go = tmp_path / "go"
    go.write_text(
        """#!/bin/sh
case $1 in
list) echo "go: downloading example.org/a v1.0.0" >&2; printf "example.org/%s\\n" a b c d ;;
build) printf "example.org/a\\n# example.org/b\\na warning\\nexample.org/b\\n" >&2 ;;
esac
"""
    )
    go.chmod(0o755)
    monkeypatch.setattr("system.console.MIN_INTERVAL", 0.0)
    monkeypatch.setattr("system.console.MAX_INTERVAL", 0.0)
    Compiler(go, "1.26.8").build(tmp_path, "./x", tmp_path / "x", title="program v1")
    lines = [line.partition("] ")[2] for line in capsys.readouterr().err.splitlines()]
    assert lines[0] == "program v1: downloading Go modules: 1"
    assert lines[1].startswith("program v1: compiling packages: 1 of 4 (25 %), about ")
    assert lines[2].startswith("program v1: compiling packages: 2 of 4 (50 %), about ")
    assert len(lines) == 3
