"""What the house promises of its own sources: who imports what, and who opens connections."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from system.files import CHECKOUT

SOURCES = [
    *(path for folder in ("lab", "components") for path in sorted((CHECKOUT / folder).glob("*.py"))),
    CHECKOUT / "__main__.py",
]
LAB = [path for path in SOURCES if path.parent.name == "lab"]


def modules(source: Path) -> set[str]:
    """Every module that a source imports, by its top-level name."""
    return {name.partition(".")[0] for name in imports(source)}


def imports(source: Path) -> Iterator[str]:
    """The full names of what a source imports."""
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def calls(source: Path) -> set[str]:
    """The last name of everything that a source calls with a dotted name, with the one before it: `remote.Command`."""
    return {
        ".".join(ast.unparse(node.func).split(".")[-2:])
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
    }


@pytest.mark.parametrize("source", LAB, ids=lambda path: path.name)
def test_the_lab_knows_neither_pulumi_nor_a_network_nor_other_processes(source: Path) -> None:
    forbidden = {"asyncio", "http", "paramiko", "socket", "ssl", "subprocess", "urllib", "components", "toolchain"}
    assert not modules(source) & forbidden
    assert not any(name.startswith("pulumi") for name in modules(source))


def test_one_module_alone_knows_pulumi_libvirt() -> None:
    everywhere = [path for path in CHECKOUT.glob("*/*.py") if not path.parts[-2].startswith(".")] + SOURCES
    assert {path.name for path in everywhere if "pulumi_libvirt" in modules(path)} == {"hypervisor.py"}


def test_one_module_alone_talks_to_nodes() -> None:
    makers = {path.name: calls(path) & {"remote.Command", "local.Command"} for path in SOURCES}
    assert {name for name, made in makers.items() if "remote.Command" in made} == {"connection.py"}
    # The other one runs what changes the machine that it runs on.
    assert {name for name, made in makers.items() if "local.Command" in made} == {"local.py"}
