"""The programs that run on nodes: official releases if these can be downloaded, otherwise builds from Go modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.versions import Release, Source, fill, kubernetes_versions, node_sources, source_of
from lab.versions import go as required_go
from system import netns
from system.errors import ToolchainError
from toolchain import golang
from toolchain.cache import Key, key, sha256
from toolchain.store import ArtifactStore

MODULES = Path(__file__).with_name("node")
"""One Go module per project, pinned by go.mod and go.sum. A project with several versions has one module for each."""
RECIPE = 1
"""Number of the build procedure. Increase it with every change to it, so that older builds are not used."""

ProgramVersion = tuple[str, str]
"""The name and version of a program: `("kubelet", "v1.37.2")`."""


@dataclass(frozen=True)
class BinaryFile:
    """A program for nodes: its file on this machine, the file's SHA-256, and the program's version."""

    path: Path
    sha256: str
    version: str


@dataclass(frozen=True)
class BinaryRecipe:
    """The `toolchain.store.ArtifactRecipe` of programs for nodes.

    Attributes:
        source: The upstream project.
        version: The project's version.
        programs: The names of the programs, which are downloaded or built together.
    """

    source: Source
    version: str
    programs: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name and version that messages show."""
        name = self.programs[0] if len(self.programs) == 1 else self.source.name
        return f"{name} {self.version}"

    @property
    def release(self) -> Release:
        """The addresses of the official release."""
        return self.source.release.at(self.version, self.programs[0])

    @property
    def members(self) -> dict[str, str]:
        """The name in the release's archive of each program."""
        return {name: fill(self.source.programs[name].member, self.version) for name in self.programs}

    @property
    def module(self) -> Path:
        """The folder of the Go module that pins the sources."""
        folder = MODULES / self.source.name
        return folder / self.version if len(self.source.versions) > 1 else folder

    @property
    def build_key(self) -> Key | None:
        """The key of the build in the cache; None for a version without a Go module."""
        if self.version not in self.source.versions:
            return None
        build = self.source.build
        return key(
            self.title.replace(" ", "-"),
            recipe=RECIPE,
            go=required_go().series,
            module=[sha256(self.module / name) for name in ("go.mod", "go.sum")],
            packages=[self.source.programs[name].package for name in self.programs],
            tags=build.tags,
            variables=self._variables,
            cgo=build.cgo,
            **self._own_sources,
        )

    @property
    def _own_sources(self) -> dict[str, list[str]]:
        """The digests of the module's own Go files. Most modules have none, and only require the project's packages."""
        digests = [sha256(path) for path in sorted(self.module.glob("*.go"))]
        return {"sources": digests} if digests else {}

    @property
    def build_packages(self) -> dict[str, str]:
        """The Debian packages that the build needs besides Go, with the reason for each."""
        return dict.fromkeys(self.source.build.cgo, f"building {self.title}")

    def build(self, go: golang.Compiler, folder: Path) -> None:
        """Build the programs into `folder`. Raises ToolchainError."""
        build = self.source.build
        for name in self.programs:
            go.build(
                self.module,
                self.source.programs[name].package,
                folder / name,
                tags=build.tags,
                variables=self._variables,
                cgo=bool(build.cgo),
                title=f"{name} {self.version}",
            )

    @property
    def _variables(self) -> dict[str, str]:
        return {name: fill(value, self.version) for name, value in self.source.build.variables.items()}


def ensure(programs: Iterable[ProgramVersion], store: ArtifactStore | None = None) -> dict[ProgramVersion, BinaryFile]:
    """Return the given programs, and download or build those that are not in the cache.

    Args:
        programs: Names as in `lab/versions.toml`, and versions.
        store: The default uses the user's cache and the official release hosts.

    Raises:
        ToolchainError: A program or version is unknown, or can be neither downloaded nor built.
    """
    store = store or ArtifactStore()
    names = list(programs)
    recipes = recipes_for(names)
    entries = [store.find(recipe) for recipe in recipes]
    missing = [recipe for recipe, entry in zip(recipes, entries, strict=True) if entry is None]
    if missing and netns.is_inside():
        netns.run_toolchain("binaries", *(f"{name}@{recipe.version}" for recipe in missing for name in recipe.programs))
    binaries = {}
    for recipe, cached in zip(recipes, entries, strict=True):
        entry = cached or store.ensure(recipe)
        for name in recipe.programs:
            binaries[name, recipe.version] = BinaryFile(entry.path(name), entry.files[name].sha256, recipe.version)
    return {name: binaries[name] for name in names}


def lab_programs(kubernetes_version: str) -> Iterator[ProgramVersion]:
    """Return all programs that a lab with the given Kubernetes version runs on its nodes."""
    for source in node_sources().values():
        version = kubernetes_version if source.name == "kubernetes" else source.versions[0]
        for program in source.programs:
            yield program, version


def required_packages(programs: Iterable[ProgramVersion]) -> dict[str, str]:
    """Return the Debian packages needed to build those programs that are not in the cache, with the reason for each."""
    store = ArtifactStore()
    missing = [recipe for recipe in recipes_for(programs) if store.find(recipe) is None]
    missing = [recipe for recipe in missing if recipe.build_key]
    packages = golang.required_packages() if missing else {}
    for recipe in missing:
        packages |= recipe.build_packages
    return packages


def recipes_for(programs: Iterable[ProgramVersion]) -> list[BinaryRecipe]:
    """Return the recipes of the given programs, in the order of `lab/versions.toml`.

    Raises:
        ToolchainError: A program or version is unknown.
    """
    requested: dict[tuple[str, str], set[str]] = {}
    for program, version in programs:
        try:
            source = source_of(program)
        except KeyError:
            known = ", ".join(sorted(name for source in node_sources().values() for name in source.programs))
            raise ToolchainError(f"{program}: there is no such program. The known programs are {known}.") from None
        if not source.supports(version):
            known = ", ".join(source.versions)
            raise ToolchainError(
                f"{program} {version}: this version of {source.name} is not known. Use one of {known}, or a release "
                f"from {source.minimum} on."
            )
        requested.setdefault((source.name, version), set()).add(program)
    recipes = []
    for name, source in node_sources().items():
        others = sorted(version for each, version in requested if each == name and version not in source.versions)
        for version in (*source.versions, *others):
            names = requested.get((name, version), set())
            if "{program}" in source.release.archive:
                recipes += [
                    BinaryRecipe(source, version, (program,)) for program in source.programs if program in names
                ]
            elif names:
                recipes.append(BinaryRecipe(source, version, tuple(source.programs)))
    return recipes


def parse(texts: Iterable[str]) -> list[ProgramVersion]:
    """Return the programs that command-line arguments name.

    Args:
        texts: A program such as `kubelet@v1.37.2`, or a Kubernetes version for all programs of such a lab. Without any,
            all programs of a lab with the default version.
    """
    programs: list[ProgramVersion] = []
    for text in texts or (kubernetes_versions()[0],):
        program, at, version = text.partition("@")
        programs += [(program, version)] if at else list(lab_programs(text))
    return programs
