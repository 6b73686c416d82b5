"""The versions, download URLs and digests of all software in a lab, read from versions.toml.

This module uses only the standard library, because it also runs before the virtual environment exists.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

VERSIONS_FILE = Path(__file__).with_name("versions.toml")

RELEASE_VERSION = re.compile(r"v(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-(alpha|beta|rc)\.(0|[1-9][0-9]*))?")
"""A version of a release, such as v1.37.2 or v1.38.0-rc.1."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """The URLs of an official release.

    Attributes:
        archive: The URL of the archive, or of the program itself. It may contain placeholders, see `fill`. Empty if
            the project releases no binaries, so that its programs are always built.
        checksum: The URL of the published SHA-256. It may contain placeholders.
    """

    archive: str
    checksum: str

    def at(self, version: str, program: str = "") -> Release:
        """Return the URLs for a version and, if the release has one file for each program, for a program."""
        return Release(archive=fill(self.archive, version, program), checksum=fill(self.checksum, version, program))


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program.

    Attributes:
        name: The name of the program.
        package: The Go package that it is built from; empty if it is not built.
        member: Its path in the archive of the release; empty if the release is the program itself.
    """

    name: str
    package: str
    member: str


@dataclass(frozen=True, kw_only=True)
class Build:
    """The options of a build from Go modules.

    Attributes:
        tags: The build tags.
        variables: The variables that the linker sets. The values may contain placeholders, see `fill`.
        cgo: The Debian packages that are needed to link C code statically; empty if the program has no C code.
    """

    tags: tuple[str, ...] = ()
    variables: Mapping[str, str]
    cgo: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """An upstream project.

    Attributes:
        name: The name of the project.
        versions: The versions that can also be built, the default first.
        minimum: The oldest version that a configuration may name.
        release: The official release.
        build: The options of a build.
        programs: The programs by name.
    """

    name: str
    versions: tuple[str, ...]
    minimum: str
    release: Release
    build: Build
    programs: Mapping[str, Program]

    def supports(self, version: str) -> bool:
        """Return True for a release of the same major version as the default, from `minimum` on.

        A version that is not in `versions` can only be downloaded.
        """
        if version in self.versions:
            return True
        if not RELEASE_VERSION.fullmatch(version):
            return False
        numbers, minimum, default = map(_numbers, (version, self.minimum, self.versions[0]))
        return numbers[0] == default[0] and numbers >= minimum


@dataclass(frozen=True, kw_only=True)
class NodePackage:
    """A Debian package that nodes need.

    Attributes:
        name: The package's name.
        why: The reason why nodes need it.
        command: A command that it brings. A machine that has the command needs no package. Empty if only the lab's own
            image has the package.
        load_balancer: True if only control planes behind a load balancer need it.
    """

    name: str
    why: str
    command: str = ""
    load_balancer: bool = False


@dataclass(frozen=True, kw_only=True)
class Go:
    """The Go toolchain.

    Attributes:
        minimum: The oldest installed version that is used as it is.
        version: The version that is fetched otherwise.
        release: The official release of that version.
        module: The Go module with the same release.
        module_sha256: The SHA-256 of the module's zip file.
    """

    minimum: str
    version: str
    release: Release
    module: str
    module_sha256: str

    @property
    def series(self) -> str:
        """The release series of `minimum`, such as "1.26" for "1.26.8"."""
        return ".".join(self.minimum.split(".")[:2])


def fill(text: str, version: str, program: str = "") -> str:
    """Return a text with its placeholders replaced; versions.toml lists them."""
    number = version.removeprefix("v")
    minor = number.split(".")[1] if "." in number else ""
    return text.format(version=version, number=number, minor=minor, program=program)


@cache
def node_sources() -> Mapping[str, Source]:
    """Return the projects whose programs run on nodes, by name."""
    return {name: _source(name, table, tuple(table["versions"])) for name, table in _data()["node"].items()}


@cache
def engine() -> Source:
    """Return the Pulumi engine with its Python language host."""
    table = _data()["engine"]
    return _source("engine", table, (table["version"],))


@cache
def plugins() -> Mapping[str, str]:
    """Return the version of each resource plugin by name. It is exactly the version of the plugin's SDK."""
    return {name: table["version"] for name, table in _data()["plugins"].items()}


def plugin_release() -> Release:
    """Return the release of a resource plugin; its name is the program."""
    return _release(_data()["plugin"])


def go() -> Go:
    """Return the Go toolchain to build with."""
    table = _data()["go"]
    return Go(
        minimum=table["minimum"],
        version=table["version"],
        release=_release(table).at(table["version"]),
        module=fill(table["module"], table["version"]),
        module_sha256=table["module_sha256"],
    )


def debian_suite() -> str:
    """Return the Debian suite of the nodes."""
    return str(_data()["debian"]["suite"])


@cache
def node_packages() -> Mapping[str, NodePackage]:
    """Return the Debian packages of a node's operating system, by name."""
    return {name: NodePackage(name=name, **table) for name, table in _data()["debian"]["packages"].items()}


def kubernetes_versions() -> tuple[str, ...]:
    """Return the Kubernetes versions that can also be built, the default first."""
    return node_sources()["kubernetes"].versions


def default_kubernetes_version() -> str:
    """Return the Kubernetes version of a lab that does not set one."""
    return kubernetes_versions()[0]


def minor(kubernetes_version: str) -> int:
    """Return the minor version, such as 37 for v1.37.2. The major version of all supported versions is 1."""
    return int(kubernetes_version.split(".")[1])


def version(component: str) -> str:
    """Return the version of a project or image, and the default version of a project with several versions.

    Args:
        component: The name in versions.toml, such as "containerd".

    Raises:
        KeyError: There is no such project or image.
    """
    if component in node_sources():
        return node_sources()[component].versions[0]
    return str(_data()["images"][component]["version"])


def source_of(program: str) -> Source:
    """Return the project of a program that runs on nodes.

    Raises:
        KeyError: No project has such a program.
    """
    return _sources_by_program()[program]


def images() -> Iterator[str]:
    """Return the names of the container images that are built for nodes."""
    return iter(_data()["images"])


def image_reference(image: str, version: str = "") -> str:
    """Return the full name of a container image on nodes.

    Args:
        image: The name in versions.toml, such as "pause".
        version: The version; by default that in versions.toml.
    """
    table = _data()["images"][image]
    return f"{table['repository']}:{version or table['version']}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.removeprefix("v").partition("-")[0].split(".")))


@cache
def _sources_by_program() -> Mapping[str, Source]:
    return {program: source for source in node_sources().values() for program in source.programs}


def _source(name: str, table: Mapping[str, Any], versions: tuple[str, ...]) -> Source:
    build = table.get("build", {})
    return Source(
        name=name,
        versions=versions,
        minimum=table.get("minimum", versions[-1]),
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
    return Release(archive=table.get("release", ""), checksum=table.get("checksum", ""))


@cache
def _data() -> Mapping[str, Any]:
    with VERSIONS_FILE.open("rb") as file:
        return tomllib.load(file)
