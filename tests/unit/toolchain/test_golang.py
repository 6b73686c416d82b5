"""Which Go builds: an installed one that is new enough; else the release or its module, which an old Go can fetch."""

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

WANTED = versions.go()
NO_HOSTS = {"go.dev": "", "dl.google.com": ""}
MODULE, _, MODULE_VERSION = WANTED.module.partition("@")


@pytest.fixture(autouse=True)
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Go but what a test puts into the folder returned."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(golang, "USUAL_PLACES", ())
    return folder


def install(folder: Path, version: str, module: Path | None = None) -> Path:
    """A Go that tells its version and, if given a module's zip file, fetches that."""
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
    """Go as a module: a zip file that knows no modes."""
    path = tmp_path / "module.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{WANTED.module}/bin/go", "the compiler")
        file.writestr(f"{WANTED.module}/pkg/tool/linux_amd64/compile", "its tool")
    return path


def compiler_with(module_sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    monkeypatch.setattr(golang, "wanted_go", lambda: replace(WANTED, module_sha256=module_sha256))
    return golang.compiler(Cache(tmp_path / "cache"), ReleaseHosts(NO_HOSTS))


@pytest.mark.parametrize("version", [WANTED.minimum, WANTED.version, "1.100", "2.0"])
def test_an_installed_go_that_is_new_enough_is_used(nothing_installed: Path, tmp_path: Path, version: str) -> None:
    program = install(nothing_installed, version)
    found = golang.compiler(Cache(tmp_path / "cache"), ReleaseHosts(NO_HOSTS))
    assert found == Compiler(program, version)
    assert golang.required_packages() == {}


@pytest.mark.parametrize("version", ["1.19.8", "1.26", "1.26.5", "0.9"])
def test_a_go_that_is_too_old_does_not_build(nothing_installed: Path, version: str) -> None:
    install(nothing_installed, version)
    assert golang.installed(WANTED.minimum) is None


def test_an_old_go_fetches_the_new_one_as_a_module(
    nothing_installed: Path, tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(nothing_installed, "1.19.8", module)
    found = compiler_with(hashlib.sha256(module.read_bytes()).hexdigest(), tmp_path, monkeypatch)
    assert found.version == WANTED.version
    assert found.program.read_text() == "the compiler"
    assert found.program.stat().st_mode & 0o111
    assert (found.program.parents[1] / "pkg/tool/linux_amd64/compile").stat().st_mode & 0o111


def test_a_module_with_another_digest_is_refused(
    nothing_installed: Path, tmp_path: Path, module: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(nothing_installed, "1.19.8", module)
    with pytest.raises(ToolchainError, match="SHA-256"):
        compiler_with("0" * 64, tmp_path, monkeypatch)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.name == "go"]


def test_without_any_go_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=rf"Go {WANTED.minimum} or newer .*{golang.DEBIAN_PACKAGE}"):
        golang.compiler(Cache(tmp_path / "cache"), ReleaseHosts(NO_HOSTS))
    assert list(golang.required_packages()) == [golang.DEBIAN_PACKAGE]


def test_a_patch_is_built_in_the_place_of_the_text_that_it_is_for(tmp_path: Path) -> None:
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
    with pytest.raises(ToolchainError, match="has changed"):
        Compiler(go, "1.26.8").build(tmp_path, "./x", tmp_path / "x", patches=[replace(patch, before="nothing")])


def test_no_go_is_wanted_before_something_is_to_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert golang.DEBIAN_PACKAGE not in packages.required_packages(vms=True)
    assert golang.DEBIAN_PACKAGE in packages.build_packages()
