"""The versions, download names and digests of everything that the lab is made of, as `versions.toml` says them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).with_name("versions.toml")


@dataclass(frozen=True, kw_only=True)
class Release:
    """Where an official release and its published SHA-256 are, with placeholders still in the addresses."""

    archive: str
    checksum: str

    def at(self, version: str, program: str = "") -> Release:
        """The addresses for one version and, where each program is a file of its own, one program."""
        return Release(archive=fill(self.archive, version, program), checksum=fill(self.checksum, version, program))


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program: the Go package it is built from ("" if it isn't), and its name in the release's archive ("" if the
    release is the program itself)."""

    name: str
    package: str
    member: str


@dataclass(frozen=True, kw_only=True)
class Build:
    """How programs are built from Go modules.

    tags: build tags. variables: what the linker sets, with placeholders. cgo: the Debian packages that linking C code
    statically needs; none where no C code is linked.
    """

    tags: tuple[str, ...] = ()
    variables: Mapping[str, str]
    cgo: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """An upstream project: its programs, the versions that can be had (the default first), its release and build."""

    name: str
    versions: tuple[str, ...]
    release: Release
    build: Build
    programs: Mapping[str, Program]


@dataclass(frozen=True, kw_only=True)
class NodePackage:
    """A Debian package that nodes need.

    Attributes:
        name: The package's name.
        why: The reason why nodes need it.
        command: A command that it brings. A machine that has the command needs no package. Empty if only the lab's own
            image has the package.
        load_balancer: Whether only control planes behind a load balancer need it.
    """

    name: str
    why: str
    command: str = ""
    load_balancer: bool = False


@dataclass(frozen=True, kw_only=True)
class Go:
    """The Go toolchain: any of at least `minimum` will do, else `version` is fetched, as a release or as a module."""

    minimum: str
    version: str
    release: Release
    module: str
    module_sha256: str

    @property
    def series(self) -> str:
        """The release series of `minimum`: "1.26" of "1.26.6"."""
        return ".".join(self.minimum.split(".")[:2])


def fill(text: str, version: str, program: str = "") -> str:
    """`text` with its placeholders replaced."""
    number = version.removeprefix("v")
    minor = number.split(".")[1] if "." in number else ""
    return text.format(version=version, number=number, minor=minor, program=program)


@cache
def node_sources() -> Mapping[str, Source]:
    """The projects whose programs run on nodes, by name."""
    return {name: _source(name, table, tuple(table["versions"])) for name, table in _data()["node"].items()}


@cache
def engine() -> Source:
    """Pulumi's engine and its Python language host."""
    table = _data()["engine"]
    return _source("engine", table, (table["version"],))


@cache
def plugins() -> Mapping[str, str]:
    """The version of each resource plugin, by the plugin's name. It is the SDK's, to the last digit."""
    return {name: table["version"] for name, table in _data()["plugins"].items()}


def plugin_release() -> Release:
    """Where the resource plugins' releases are."""
    return _release(_data()["plugin"])


def go() -> Go:
    """The Go toolchain to build with."""
    table = _data()["go"]
    return Go(
        minimum=table["minimum"],
        version=table["version"],
        release=_release(table).at(table["version"]),
        module=fill(table["module"], table["version"]),
        module_sha256=table["module_sha256"],
    )


def debian_suite() -> str:
    """The Debian suite that nodes run."""
    return str(_data()["debian"]["suite"])


@cache
def node_packages() -> Mapping[str, NodePackage]:
    """Return the Debian packages of a node's operating system, by name."""
    return {name: NodePackage(name=name, **table) for name, table in _data()["debian"]["packages"].items()}


def kubernetes_versions() -> tuple[str, ...]:
    """The Kubernetes versions that can be had, the default first."""
    return node_sources()["kubernetes"].versions


def default_kubernetes_version() -> str:
    """The Kubernetes version of a lab that asks for none."""
    return kubernetes_versions()[0]


def minor(kubernetes_version: str) -> int:
    """The minor version: 36 of v1.36.3. Every known version has the major version 1."""
    return int(kubernetes_version.split(".")[1])


def version(component: str) -> str:
    """The version of a project or an image, by its name here: `version("containerd")`. For a project with several,
    the default one. Raises KeyError for a name that isn't there."""
    if component in node_sources():
        return node_sources()[component].versions[0]
    return str(_data()["images"][component]["version"])


def source_of(program: str) -> Source:
    """The project that a node's program is part of. Raises KeyError for a program that no project here has."""
    return _sources_by_program()[program]


def images() -> Iterator[str]:
    """The names of the container images made for nodes."""
    return iter(_data()["images"])


def image_reference(image: str) -> str:
    """The name under which a container image is known on nodes: `image_reference("pause")`."""
    table = _data()["images"][image]
    return f"{table['repository']}:{table['version']}"


@cache
def _sources_by_program() -> Mapping[str, Source]:
    return {program: source for source in node_sources().values() for program in source.programs}


def _source(name: str, table: Mapping[str, Any], versions: tuple[str, ...]) -> Source:
    build = table.get("build", {})
    return Source(
        name=name,
        versions=versions,
        release=_release(table),
        build=Build(
            tags=tuple(build.get("tags", ())), variables=build.get("variables", {}), cgo=tuple(build.get("cgo", ()))
        ),
        programs={
            program: Program(
                name=program,
                package=entry.get("package", ""),
                member=entry.get("member", ""),
            )
            for program, entry in table["programs"].items()
        },
    )


def _release(table: Mapping[str, Any]) -> Release:
    return Release(archive=table["release"], checksum=table["checksum"])


@cache
def _data() -> Mapping[str, Any]:
    with DATA.open("rb") as file:
        return tomllib.load(file)
