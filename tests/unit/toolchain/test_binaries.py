"""Node binaries: names, recipes and cache keys."""

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
from toolchain.binaries import BinaryRecipe
from toolchain.cache import Cache
from toolchain.release import ReleaseHosts
from toolchain.store import ArtifactStore, release_key

VERSION = versions.default_kubernetes_version()


def recipe_for(program: str, version: str) -> BinaryRecipe:
    (recipe,) = binaries.recipes_for([(program, version)])
    return recipe


def test_unknown_program_is_an_error() -> None:
    with pytest.raises(ToolchainError, match=r"kublet: there is no such program.*kubelet"):
        binaries.recipes_for([("kublet", VERSION)])


def test_unknown_version_error_lists_known_ones() -> None:
    with pytest.raises(ToolchainError, match=f"kubelet v1.0.0: this version .* is not known.*{VERSION}"):
        binaries.recipes_for([("kubelet", "v1.0.0")])


def test_units_follow_the_release_archives() -> None:
    plugins = versions.version("cni-plugins")
    recipes = binaries.recipes_for(
        [("kubelet", VERSION), ("kube-proxy", VERSION), ("bridge", plugins), ("portmap", plugins)]
    )
    assert [recipe.title for recipe in recipes] == [
        f"kube-proxy {VERSION}",
        f"kubelet {VERSION}",
        f"cni-plugins {plugins}",
    ]


def test_each_version_has_its_own_keys() -> None:
    older = versions.kubernetes_versions()[1]
    recipes = binaries.recipes_for([("kubelet", VERSION), ("kubelet", older)])
    assert {recipe.version for recipe in recipes} == {VERSION, older}
    assert len({recipe.build_key for recipe in recipes} | {release_key(recipe) for recipe in recipes}) == 4


def test_changed_build_changes_the_key() -> None:
    recipe = recipe_for("runc", versions.version("runc"))
    source = recipe.source
    for build in (
        replace(source.build, tags=()),
        replace(source.build, cgo=()),
        replace(source.build, variables={"main.version": "{version}"}),
    ):
        assert replace(recipe, source=replace(source, build=build)).build_key != recipe.build_key


def test_changed_go_sum_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_for("runc", versions.version("runc"))
    before = recipe.build_key
    (tmp_path / "runc").mkdir()
    for name in ("go.mod", "go.sum"):
        (tmp_path / "runc" / name).write_bytes((recipe.module / name).read_bytes())
    monkeypatch.setattr(binaries, "MODULES", tmp_path)
    assert recipe.build_key == before
    with (tmp_path / "runc/go.sum").open("a") as file:
        file.write("example.org/module v1.0.0 h1:AAAA=\n")
    assert recipe.build_key != before


def test_arguments_name_programs_or_a_lab() -> None:
    assert binaries.parse(["kubelet@v1.35.4"]) == [("kubelet", "v1.35.4")]
    programs = binaries.parse(["v1.35.4"])
    assert ("kubelet", "v1.35.4") in programs
    assert ("runc", versions.version("runc")) in programs
    assert binaries.parse([]) == binaries.parse([VERSION])


class RunElsewhereError(Exception):
    """Marks the place where the toolchain would run in the machine's own network."""


def test_private_network_fetches_missing_programs_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []

    def run_toolchain(*arguments: str) -> None:
        calls.append(arguments)
        raise RunElsewhereError

    monkeypatch.setenv(netns.NAMESPACE_VARIABLE, "/proc/self/ns/net")
    monkeypatch.setattr(netns, "run_toolchain", run_toolchain)
    store = ArtifactStore(Cache(tmp_path), ReleaseHosts({}))
    with pytest.raises(RunElsewhereError):
        binaries.ensure([("kubelet", VERSION), ("runc", versions.version("runc"))], store)
    assert calls == [("binaries", f"kubelet@{VERSION}", f"runc@{versions.version('runc')}")]


def test_prefix_enters_the_namespace_of_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(netns.NAMESPACE_VARIABLE, raising=False)
    assert netns.prefix() == []
    monkeypatch.setenv(netns.NAMESPACE_VARIABLE, "/run/outside")
    assert netns.prefix() == ["nsenter", "--net=/run/outside", "--"]


def test_user_leaves_the_network_through_sudo(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
