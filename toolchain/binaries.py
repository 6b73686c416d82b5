"""The programs that run on nodes: official releases where they can be reached, else built from Go modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.versions import Release, Source, fill, kubernetes_versions, node_sources, source_of
from lab.versions import go as wanted_go
from system import netns
from system.errors import ToolchainError
from toolchain import golang
from toolchain.cache import Key, key, sha256
from toolchain.store import ArtifactStore

MODULES = Path(__file__).with_name("node")
"""A Go module for each project, pinned by go.mod and go.sum; for a project with several versions one for each."""
RECIPE = 1
"""To be raised whenever the way of building changes, so that what was built the old way isn't used any more."""

Wanted = tuple[str, str]
"""A program's name and version: `("kubelet", "v1.36.3")`."""


@dataclass(frozen=True)
class Binary:
    """A program for nodes: where it is on this machine, its SHA-256, and its version."""

    path: Path
    sha256: str
    version: str


@dataclass(frozen=True)
class Unit:
    """What is fetched or built in one go: programs of one project in one version."""

    source: Source
    version: str
    programs: tuple[str, ...]

    @property
    def title(self) -> str:
        """What progress calls it."""
        name = self.programs[0] if len(self.programs) == 1 else self.source.name
        return f"{name} {self.version}"

    @property
    def release(self) -> Release:
        """Where its official release is."""
        return self.source.release.at(self.version, self.programs[0])

    @property
    def members(self) -> dict[str, str]:
        """The programs' names in the release's archive."""
        return {name: fill(self.source.programs[name].member, self.version) for name in self.programs}

    @property
    def module(self) -> Path:
        """The folder of the Go module that pins it."""
        folder = MODULES / self.source.name
        return folder / self.version if len(self.source.versions) > 1 else folder

    @property
    def build_key(self) -> Key:
        """Its key in the cache when built; see `toolchain.store.ArtifactRecipe`."""
        build = self.source.build
        return key(
            self.title.replace(" ", "-"),
            recipe=RECIPE,
            go=wanted_go().series,
            module=[sha256(self.module / name) for name in ("go.mod", "go.sum")],
            packages=[self.source.programs[name].package for name in self.programs],
            tags=build.tags,
            variables=self._variables,
            cgo=build.cgo,
        )

    @property
    def build_packages(self) -> dict[str, str]:
        """The Debian packages that building it needs, with the reason for each; Go's are not among them."""
        return dict.fromkeys(self.source.build.cgo, f"building {self.title}")

    def build(self, go: golang.Compiler, folder: Path) -> None:
        """Builds the programs into `folder`. Raises ToolchainError."""
        build = self.source.build
        for name in self.programs:
            package = self.source.programs[name].package
            go.build(
                self.module, package, folder / name, tags=build.tags, variables=self._variables, cgo=bool(build.cgo)
            )

    @property
    def _variables(self) -> dict[str, str]:
        return {name: fill(value, self.version) for name, value in self.source.build.variables.items()}


def ensure(wanted: Iterable[Wanted], store: ArtifactStore | None = None) -> dict[Wanted, Binary]:
    """The named programs, from the cache if they are there, else fetched or built.

    Raises ToolchainError for a program or version that isn't known, and where one can't be had.
    """
    store = store or ArtifactStore()
    names = list(wanted)
    units = units_of(names)
    entries = [store.find(unit) for unit in units]
    missing = [unit for unit, entry in zip(units, entries, strict=True) if entry is None]
    if missing and netns.is_inside():
        netns.run_toolchain("binaries", *(f"{name}@{unit.version}" for unit in missing for name in unit.programs))
    found = {}
    for unit, present in zip(units, entries, strict=True):
        entry = present or store.ensure(unit)
        for name in unit.programs:
            found[name, unit.version] = Binary(entry.path(name), entry.files[name].sha256, unit.version)
    return {name: found[name] for name in names}


def programs_of_a_lab(kubernetes_version: str) -> Iterator[Wanted]:
    """Every program that a lab of this Kubernetes version needs, with its version."""
    for source in node_sources().values():
        version = kubernetes_version if source.name == "kubernetes" else source.versions[0]
        for program in source.programs:
            yield program, version


def required_packages(wanted: Iterable[Wanted]) -> dict[str, str]:
    """The Debian packages that building the missing ones needs, with the reason for each; none if all are there."""
    store = ArtifactStore()
    missing = [unit for unit in units_of(wanted) if store.find(unit) is None]
    packages = golang.required_packages() if missing else {}
    for unit in missing:
        packages |= unit.build_packages
    return packages


def units_of(wanted: Iterable[Wanted]) -> list[Unit]:
    """What must be fetched or built for these programs, in the order of versions.toml. Raises ToolchainError for
    a program or version that isn't known."""
    asked: dict[tuple[str, str], set[str]] = {}
    for program, version in wanted:
        try:
            source = source_of(program)
        except KeyError:
            raise ToolchainError(f"{program}: no such program is known (see lab/versions.toml).") from None
        if version not in source.versions:
            known = ", ".join(source.versions)
            raise ToolchainError(f"{program} {version}: not a known version of {source.name}; known are {known}.")
        asked.setdefault((source.name, version), set()).add(program)
    units = []
    for name, source in node_sources().items():
        for version in source.versions:
            programs = asked.get((name, version), set())
            if "{program}" in source.release.archive:
                units += [Unit(source, version, (program,)) for program in source.programs if program in programs]
            elif programs:
                units.append(Unit(source, version, tuple(source.programs)))
    return units


def parse(texts: Iterable[str]) -> list[Wanted]:
    """Programs as the command line names them: `kubelet@v1.36.3`, or a Kubernetes version for all of its lab's."""
    wanted: list[Wanted] = []
    for text in texts or (kubernetes_versions()[0],):
        program, at, version = text.partition("@")
        wanted += [(program, version)] if at else list(programs_of_a_lab(text))
    return wanted
