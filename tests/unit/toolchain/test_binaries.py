"""Node binaries: what is asked for, what is fetched or built together, and what makes it another one."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab import versions
from system import netns
from system.errors import ToolchainError
from tests.support.fake_programs import put
from toolchain import binaries
from toolchain.binaries import Unit
from toolchain.cache import Cache
from toolchain.release import ReleaseHosts
from toolchain.store import ArtifactStore, release_key

VERSION = versions.default_kubernetes_version()


def unit_of(program: str, version: str) -> Unit:
    (unit,) = binaries.units_of([(program, version)])
    return unit


def test_an_unknown_program_is_refused_by_name() -> None:
    with pytest.raises(ToolchainError, match="kublet: no such program"):
        binaries.units_of([("kublet", VERSION)])


def test_an_unknown_version_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ToolchainError, match=f"kubelet v1.0.0: not a known version .*{VERSION}"):
        binaries.units_of([("kubelet", "v1.0.0")])


def test_each_kubernetes_program_is_work_of_its_own_and_an_archive_is_fetched_once() -> None:
    units = binaries.units_of(
        [("kubelet", VERSION), ("kube-proxy", VERSION), ("bridge", "v1.9.1"), ("portmap", "v1.9.1")]
    )
    assert [unit.title for unit in units] == [f"kube-proxy {VERSION}", f"kubelet {VERSION}", "cni-plugins v1.9.1"]


def test_two_versions_of_a_program_are_two_things() -> None:
    older = versions.kubernetes_versions()[1]
    units = binaries.units_of([("kubelet", VERSION), ("kubelet", older)])
    assert {unit.version for unit in units} == {VERSION, older}
    assert len({unit.build_key for unit in units} | {release_key(unit) for unit in units}) == 4


def test_a_changed_build_is_another_entry() -> None:
    unit = unit_of("runc", versions.version("runc"))
    source = unit.source
    for build in (
        replace(source.build, tags=()),
        replace(source.build, cgo=()),
        replace(source.build, variables={"main.version": "{version}"}),
    ):
        assert replace(unit, source=replace(source, build=build)).build_key != unit.build_key


def test_a_changed_go_sum_is_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = unit_of("runc", versions.version("runc"))
    before = unit.build_key
    (tmp_path / "runc").mkdir()
    for name in ("go.mod", "go.sum"):
        (tmp_path / "runc" / name).write_bytes((unit.module / name).read_bytes())
    monkeypatch.setattr(binaries, "MODULES", tmp_path)
    assert unit.build_key == before
    with (tmp_path / "runc/go.sum").open("a") as file:
        file.write("example.org/module v1.0.0 h1:AAAA=\n")
    assert unit.build_key != before


def test_the_command_line_names_programs_or_a_whole_lab() -> None:
    assert binaries.parse(["kubelet@v1.35.4"]) == [("kubelet", "v1.35.4")]
    whole = binaries.parse(["v1.35.4"])
    assert ("kubelet", "v1.35.4") in whole
    assert ("runc", versions.version("runc")) in whole
    assert binaries.parse([]) == binaries.parse([VERSION])


class RunElsewhereError(Exception):
    """Stands for what is run in the machine's own network."""


def test_inside_the_private_network_what_is_missing_is_had_from_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def run_toolchain(*arguments: str) -> None:
        asked.append(arguments)
        raise RunElsewhereError

    monkeypatch.setenv(netns.NAMESPACE_VARIABLE, "/proc/self/ns/net")
    monkeypatch.setattr(netns, "run_toolchain", run_toolchain)
    store = ArtifactStore(Cache(tmp_path), ReleaseHosts({}))
    with pytest.raises(RunElsewhereError):
        binaries.ensure([("kubelet", VERSION), ("runc", versions.version("runc"))], store)
    assert asked == [("binaries", f"kubelet@{VERSION}", f"runc@{versions.version('runc')}")]


def test_the_way_out_of_the_private_network_is_the_path_that_its_variable_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(netns.NAMESPACE_VARIABLE, raising=False)
    assert netns.prefix() == []
    monkeypatch.setenv(netns.NAMESPACE_VARIABLE, "/run/outside")
    assert netns.prefix() == ["nsenter", "--net=/run/outside", "--"]


def test_who_is_not_root_goes_out_by_sudo_and_is_the_same_outside(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    put(programs, "sudo", f'printf "%s\\n" "$@" >"{log}"; echo "${{{netns.NAMESPACE_VARIABLE}-unset}}" >>"{log}"')
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv(netns.NAMESPACE_VARIABLE, "/run/outside")
    monkeypatch.setenv("HOME", "/home/somebody")
    netns.run_toolchain("binaries", "kubelet@v1.0.0")
    assert log.read_text().splitlines() == [
        *("--preserve-env", "nsenter", "--net=/run/outside", "--"),
        *("setpriv", f"--reuid={os.getuid()}", f"--regid={os.getgid()}", "--init-groups", "--"),
        *("env", f"PATH={os.environ['PATH']}", "HOME=/home/somebody"),
        *(sys.executable, "-m", "toolchain", "binaries", "kubelet@v1.0.0"),
        "unset",
    ]
