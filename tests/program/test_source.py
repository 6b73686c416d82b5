"""Rules for the sources: allowed imports, and the modules that run commands."""

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.files import CHECKOUT

LAB, COMPONENTS = (sorted((CHECKOUT / folder).rglob("*.py")) for folder in ("lab", "components"))
SOURCES = [*LAB, *COMPONENTS, CHECKOUT / "__main__.py"]

SPENT_SECRETS = {
    "lab.node.bootstrap": {"token"},
    "lab.node.encryption": {"encryption_key"},
    "lab.node.kubeconfig": {"embedded"},
    "lab.node.service": {"config_hash", "contents", "digest", "manifest"},
}
"""Functions of `lab.node` that put secrets into rendered files, which only a component has."""


def modules(source: Path) -> set[str]:
    """Return the top-level names of the modules that a source imports."""
    return {name.partition(".")[0] for name in imports(source)}


def imports(source: Path) -> Iterator[str]:
    """Yield the full names of the modules that a source imports."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def calls(source: Path) -> set[str]:
    """Return the last two parts of each dotted name that a source calls, such as `remote.Command`."""
    return {
        ".".join(ast.unparse(node.func).split(".")[-2:])
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
    }


def imported_names(source: Path) -> Iterator[tuple[str, str]]:
    """Every module and name in the `from MODULE import NAME` statements of a source."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("source", LAB, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_lab_is_pure(source: Path) -> None:
    forbidden = {"asyncio", "http", "paramiko", "socket", "ssl", "subprocess", "urllib", "components", "toolchain"}
    assert not modules(source) & forbidden
    assert not any(name.startswith("pulumi") for name in modules(source))


@pytest.mark.parametrize("source", COMPONENTS, ids=lambda path: path.name)
def test_components_render_nothing(source: Path) -> None:
    for module, name in imported_names(source):
        if module == "lab.node":
            # Its names are modules, whose functions could then be called.
            assert f"{module}.{name}" in SPENT_SECRETS, f"{source.name} imports {name}"
        elif module.startswith("lab.node."):
            imported = getattr(importlib.import_module(module), name)
            is_data = not callable(imported) or isinstance(imported, type)
            assert is_data or name in SPENT_SECRETS.get(module, ()), f"{source.name} imports {name}"


def test_only_one_module_uses_pulumi_libvirt() -> None:
    everywhere = [path for path in CHECKOUT.glob("*/*.py") if not path.parts[-2].startswith(".")] + SOURCES
    assert {path.name for path in everywhere if "pulumi_libvirt" in modules(path)} == {"hypervisor.py"}


def test_only_two_modules_run_commands() -> None:
    makers = {path.name: calls(path) & {"remote.Command", "local.Command"} for path in SOURCES}
    assert {name for name, made in makers.items() if "remote.Command" in made} == {"connection.py"}
    assert {name for name, made in makers.items() if "local.Command" in made} == {"local.py"}
