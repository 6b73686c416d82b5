"""Import contracts between the packages, read from the source of every module.

Imports inside functions count too: a lazy import is still a dependency.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from system.errors import HardwayError
from system.files import CHECKOUT

PACKAGES = ("system", "lab", "toolchain", "host", "components", "ops", "hardway", "dev", "tests")

MAY_IMPORT = {
    "system": (),
    "lab": ("system",),
    "toolchain": ("system", "lab.versions"),
    # The access files of a stack are written from its outputs.
    "host": ("system", "lab.versions", "lab.outputs", "toolchain"),
    "components": ("system", "lab", "toolchain", "host"),
    "ops": ("system", "lab", "toolchain", "host", "components"),
    # The command line names the levels.
    "hardway": ("system", "lab.disruption", "toolchain", "host"),
    "__main__": ("system", "lab", "host", "components"),
    # The benchmark measures the program, and the lab of the end-to-end tests.
    "dev": ("system", "lab", "toolchain", "host", "components", "tests.support"),
    "tests": ("system", "lab", "toolchain", "host", "components", "ops", "hardway", "dev"),
}
"""The other packages or modules that each package may import, with all of their submodules."""

NEVER_TOGETHER = {("lab.config", "lab.node"), ("lab.node", "lab.config")}
"""Pairs of packages: a module of the first one does not import the second one."""

BEFORE_THE_ENVIRONMENT = ("system", "toolchain", "hardway", "host.prepare", "dev.__main__", "dev.checks")
"""Packages and modules that run before the virtual environment exists."""

LAB_READS = ("lab", "assets", "Pulumi.yaml")
"""The only files and folders of the checkout that `lab` may read."""


@dataclass(frozen=True)
class Import:
    """One import statement's module.

    Attributes:
        importer: The module that imports.
        imported: The module that is imported.
        line: The line of the statement.
        lazy: True inside a function, False if it runs when the importer is imported.
        typing: True if only the type checker sees it.
    """

    importer: str
    imported: str
    line: int
    lazy: bool
    typing: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


@dataclass(frozen=True)
class Module:
    """The source of a module."""

    name: str
    tree: ast.Module

    def imports(self, known: Mapping[str, object]) -> Iterator[Import]:
        """Yield the modules that this one imports; `from package import module` names the module."""
        functions = [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        blocks = [node for node in ast.walk(self.tree) if isinstance(node, ast.If)]
        lazy = {node for function in functions for node in ast.walk(function)}
        typing = {node for block in blocks if _is_name(block.test, "TYPE_CHECKING") for node in ast.walk(block)}
        for node in ast.walk(self.tree):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno}: relative import"
                package = node.module or ""
                names = [name if (name := f"{package}.{alias.name}") in known else package for alias in node.names]
            for name in dict.fromkeys(names):
                assert isinstance(node, ast.Import | ast.ImportFrom)
                yield Import(self.name, name, node.lineno, node in lazy, node in typing)


def is_within(module: str, *packages: str) -> bool:
    """Return True if a module is one of the given ones or below one of them."""
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def parse(name: str, source: str) -> Module:
    """Return a module by its name and source."""
    return Module(name, ast.parse(source))


def module_name(path: Path) -> str:
    """Return the name by which a file of the checkout is imported."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def errors_of_another_base(modules: Iterable[Module]) -> list[str]:
    """Return the errors that a program would print with a traceback, because they do not derive from HardwayError.

    A private one does not leave its module.
    """
    return [
        node.name
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and any(_is_name(base, "Exception") for base in node.bases)
        if node.name != HardwayError.__name__ and not node.name.startswith("_")
    ]


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    """All Python modules of the checkout that Git tracks or would add, by name."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split()
    paths = [Path(name) for name in listed if (CHECKOUT / name).exists()]
    return {
        module_name(path): parse(module_name(path), (CHECKOUT / path).read_text(encoding="utf-8")) for path in paths
    }


@pytest.fixture(scope="module")
def imports(modules: dict[str, Module]) -> list[Import]:
    """Every import of every module."""
    return [found for module in modules.values() for found in module.imports(modules)]


def is_ours(module: str) -> bool:
    """Return True for a module of this repository."""
    return is_within(module, *PACKAGES)


def forbidden_arrows(imports: list[Import]) -> list[str]:
    """Return the imports that cross packages without permission."""
    found = []
    for one in imports:
        package, other = one.importer.partition(".")[0], one.imported.partition(".")[0]
        crosses = is_ours(one.imported) and package != other and not is_within(one.imported, *MAY_IMPORT[package])
        together = any(
            is_within(one.importer, first) and is_within(one.imported, second) for first, second in NEVER_TOGETHER
        )
        if crosses or together:
            found.append(str(one))
    return found


def imported_tests(imports: list[Import]) -> list[str]:
    """Return the imports of test modules and conftest files."""
    return [
        str(one)
        for one in imports
        if is_within(one.imported, "tests") and one.imported.split(".")[-1].startswith(("test_", "conftest"))
    ]


def third_party(imports: list[Import], importers: set[str]) -> list[str]:
    """Return the top-level imports of the given modules that need an installed package."""
    return [
        str(one)
        for one in imports
        if one.importer in importers
        and not (one.lazy or one.typing)
        and not is_ours(one.imported)
        and one.imported.partition(".")[0] not in sys.stdlib_module_names
    ]


def closure(imports: list[Import], starts: set[str]) -> set[str]:
    """Return modules together with all of ours that importing them imports."""
    reached: set[str] = set()
    waiting = set(starts)
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= {
            one.imported
            for one in imports
            if one.importer == module and not (one.lazy or one.typing) and is_ours(one.imported)
        } - reached
    return reached


def cycle(imports: list[Import]) -> list[str]:
    """Return modules that import each other in a circle, or nothing."""
    graph: dict[str, set[str]] = {}
    for one in imports:
        if is_ours(one.imported) and one.imported != one.importer and not one.typing:
            graph.setdefault(one.importer, set()).add(one.imported)
    finished: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        for other in sorted(graph.get(module, ())):
            if found := search(other, [*path, module]):
                return found
        finished.add(module)
        return []

    return next((found for module in sorted(graph) if (found := search(module, []))), [])


def places_read(module: Module) -> set[str]:
    """Return the files and folders of the checkout that a module names, and "?" for a path built in another way."""
    nodes = list(ast.walk(module.tree))
    joins = [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)]
    inner = {node.left for node in joins}
    chains = [chain for node in joins if node not in inner and (chain := _chain(node))[0] == "CHECKOUT"]
    places = {"/".join(names) for _, *names in chains}
    if sum(_is_name(node, "CHECKOUT") for node in nodes) > len(chains):
        places.add("?")
    beside = {node.value for node in nodes if isinstance(node, ast.Attribute) and node.attr in ("with_name", "parent")}
    for node in nodes:
        if isinstance(node, ast.Call) and (_is_name(node.func, "open") or _is_name(node.func, "Path")):
            places.add("lab" if node in beside and ast.unparse(node) == "Path(__file__)" else "?")
    return places


def _chain(node: ast.expr) -> list[str]:
    """Return the parts of paths joined by slashes: a text as it is, another expression as its source."""
    if isinstance(node, ast.BinOp):
        return [*_chain(node.left), *_chain(node.right)]
    return [node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)]


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def test_packages_import_only_what_they_may(imports: list[Import]) -> None:
    assert forbidden_arrows(imports) == []


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("system.files", "import lab.spec"),
        ("lab.config.parse", "from lab.node import render"),
        ("lab.node.render", "def f():\n    from lab.config.parse import load"),
        ("lab.spec", "from toolchain.cache import Cache"),
        ("toolchain.cache", "from lab.spec import Spec"),
        ("host.prepare", "from components.lab import Lab"),
        ("components.lab", "def f():\n    import ops.clients"),
        ("ops.clients", "from dev import checks"),
        ("hardway.__main__", "from dev import checks"),
        ("hardway.__main__", "def f():\n    from ops.verify import report"),
        ("dev.checks", "from tests.e2e.test_lab import ready"),
    ],
)
def test_a_forbidden_import_is_found(modules: dict[str, Module], importer: str, source: str) -> None:
    assert len(forbidden_arrows(list(parse(importer, source).imports(modules)))) == 1


def test_no_module_imports_a_test_module(imports: list[Import]) -> None:
    assert imported_tests(imports) == []


@pytest.mark.parametrize(
    "source",
    ["from tests.e2e.test_lab import ready", "from tests.e2e.conftest import lab", "from tests.e2e import test_lab"],
)
def test_an_imported_test_module_is_found(modules: dict[str, Module], source: str) -> None:
    assert len(imported_tests(list(parse("tests.e2e.test_drift", source).imports(modules)))) == 1


def test_modules_do_not_import_each_other_in_a_circle(imports: list[Import]) -> None:
    assert cycle(imports) == []


def test_a_circle_is_found(modules: dict[str, Module]) -> None:
    sources = {
        "lab.spec": "import lab.pki",
        "lab.pki": "def f():\n    from lab import node",
        "lab.node": "import lab.spec",
    }
    parsed = {name: parse(name, source) for name, source in sources.items()}
    assert cycle([one for module in parsed.values() for one in module.imports(modules)]) == [
        "lab.node",
        "lab.spec",
        "lab.pki",
        "lab.node",
    ]


def repeated_classes(modules: dict[str, Module]) -> dict[str, list[str]]:
    """Return the modules of each public class name that several modules define, without those of tests."""
    owners: dict[str, list[str]] = {}
    for name, module in modules.items():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not is_within(name, "tests"):
                owners.setdefault(node.name, []).append(name)
    return {name: places for name, places in owners.items() if len(places) > 1}


def test_class_names_are_unique(modules: dict[str, Module]) -> None:
    assert repeated_classes(modules) == {}


def test_a_repeated_class_name_is_found() -> None:
    modules = {name: parse(name, "class Key: ...") for name in ("lab.a", "ops.b", "tests.c")}
    assert repeated_classes(modules) == {"Key": ["lab.a", "ops.b"]}


def test_errors_have_one_base(modules: dict[str, Module]) -> None:
    assert errors_of_another_base(module for module in modules.values() if not is_within(module.name, "tests")) == []


def test_an_error_of_another_base_is_found() -> None:
    source = "class PodError(Exception): ...\nclass PlaceError(HardwayError): ...\nclass _LoopError(Exception): ..."
    assert errors_of_another_base([parse("lab.pods", source)]) == ["PodError"]


def test_code_before_the_environment_needs_no_package(modules: dict[str, Module], imports: list[Import]) -> None:
    starts = {name for name in modules if is_within(name, *BEFORE_THE_ENVIRONMENT)}
    reached = closure(imports, starts)
    assert {"host.prepare", "host.workspace", "lab.versions", "toolchain.cache"} <= reached
    assert third_party(imports, reached) == []


def test_a_package_at_the_top_is_found(modules: dict[str, Module]) -> None:
    source = "import json\nimport yaml\nfrom rich import table\ndef f():\n    import pulumi\n"
    found = list(parse("host.prepare", source).imports(modules))
    assert [one.imported for one in found if str(one) in third_party(found, {"host.prepare"})] == ["yaml", "rich"]


def is_readable(place: str) -> bool:
    """Return True for a file or folder that `lab` may read."""
    return any(place == allowed or place.startswith(f"{allowed}/") for allowed in LAB_READS)


def test_lab_reads_only_its_own_data(modules: dict[str, Module]) -> None:
    read = {name: places_read(module) for name, module in modules.items() if is_within(name, "lab")}
    assert set().union(*read.values()) >= {"lab", "assets", "Pulumi.yaml"}
    assert {name: places for name, places in read.items() if not all(map(is_readable, places))} == {}


@pytest.mark.parametrize(
    "source",
    [
        'A = CHECKOUT / "toolchain" / "vm"',
        'A = CHECKOUT.joinpath("host")',
        'A = Path("/etc/hosts")',
        'A = open("/etc/hosts")',
        'A = Path(__file__).parents[1] / "host"',
    ],
)
def test_another_file_read_by_lab_is_found(source: str) -> None:
    assert not all(map(is_readable, places_read(parse("lab.spec", source))))
