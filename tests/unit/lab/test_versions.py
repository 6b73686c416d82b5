"""versions.toml is consistent with itself and with the files that must repeat its versions."""

import re

import pytest

from lab import versions
from system.files import CHECKOUT
from toolchain import binaries, engine

NODE_UNITS = binaries.recipes_for(
    program for version in versions.kubernetes_versions() for program in binaries.lab_programs(version)
)


def test_the_default_kubernetes_version_is_supported() -> None:
    assert versions.default_kubernetes_version() in versions.kubernetes_versions()
    assert versions.version("kubernetes") == versions.default_kubernetes_version()


def test_placeholders_are_replaced() -> None:
    filled = versions.fill("{version} {number} {minor} {program}", "v1.37.2", "kubelet")
    assert filled == "v1.37.2 1.37.2 37 kubelet"


def test_image_reference() -> None:
    assert versions.image_reference("coredns") == "registry.k8s.io/coredns/coredns:v1.15.0"


def test_the_coredns_image_has_the_version_of_coredns() -> None:
    assert versions.version("coredns") == versions.image_reference("coredns").rpartition(":")[2]


@pytest.mark.parametrize("unit", NODE_UNITS, ids=lambda unit: unit.title)
def test_go_modules_pin_all_node_binaries(unit: binaries.BinaryRecipe) -> None:
    go_mod = (unit.module / "go.mod").read_text()
    go_sum = (unit.module / "go.sum").read_text()
    for program in unit.programs:
        package = unit.source.programs[program].package
        if package == ".":  # a program of the lab that uses the project's packages
            assert re.search(rf"^\t\S+/{unit.source.name} {re.escape(unit.version)}$", go_mod, re.MULTILINE)
            continue
        assert re.search(rf"^(tool |\t){re.escape(package)}$", go_mod, re.MULTILINE), f"{package} is no tool of it"
        required = re.findall(r"^(?:require |\t)(\S+) (v\S+)(?: // indirect)?$", go_mod, re.MULTILINE)
        (module,) = {name for name, version in required if package.startswith(name) and version == unit.version}
        assert f"{module} {unit.version} h1:" in go_sum


@pytest.mark.parametrize("unit", NODE_UNITS, ids=lambda unit: unit.title)
def test_no_placeholders_remain(unit: binaries.BinaryRecipe) -> None:
    names = [unit.release.archive, unit.release.checksum, *unit.members.values()]
    assert not [name for name in names if "{" in name]


def test_cache_keys_are_unique() -> None:
    keys = [str(unit.build_key) for unit in NODE_UNITS]
    assert len(set(keys)) == len(keys)


def test_a_program_belongs_to_one_project() -> None:
    programs = [program for source in versions.node_sources().values() for program in source.programs]
    assert len(programs) == len(set(programs))


def pinned(package: str) -> str | None:
    match = re.search(rf"^{re.escape(package)}==([^\s;\\]+)", (CHECKOUT / "requirements.txt").read_text(), re.MULTILINE)
    return match[1] if match else None


@pytest.mark.parametrize("plugin", versions.plugins())
def test_plugins_have_the_version_of_their_sdk(plugin: str) -> None:
    assert versions.plugins()[plugin] == pinned(f"pulumi-{plugin}")


@pytest.mark.parametrize("plugin", versions.plugins())
def test_built_plugins_report_their_version(plugin: str) -> None:
    sources = (engine.MODULE / f"cmd/pulumi-resource-{plugin}").rglob("*.go")
    assert any(f'"{versions.plugins()[plugin]}"' in source.read_text() for source in sources)


def test_the_engine_has_the_version_of_its_packages() -> None:
    (version,) = versions.engine().versions
    assert version == f"v{pinned('pulumi')}"
    go_mod = (engine.MODULE / "go.mod").read_text()
    assert f"github.com/pulumi/pulumi/pkg/v3 {version}" in go_mod
    assert f"{engine.SDK_MODULE} {version}" in go_mod


def test_go_modules_require_at_most_the_minimum_go() -> None:
    def numbers(version: str) -> tuple[int, ...]:
        return tuple(map(int, version.split(".")))

    for go_mod in (CHECKOUT / "toolchain").rglob("go.mod"):
        match = re.search(r"^go (\S+)$", go_mod.read_text(), re.MULTILINE)
        assert match, go_mod
        assert numbers(match[1]) <= numbers(versions.go().minimum), go_mod
