"""How anything that has an official release is had: from the cache, else the release, else a build from Go modules.

A product has two places in the cache, one for the release and one for the build. Whichever is there is used, so that a
lab keeps what it runs on when a release host comes and goes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.versions import Release
from system.console import say
from toolchain import golang
from toolchain.cache import Cache, Entry, Key, key
from toolchain.release import NotAvailableError, ReleaseHosts


class ArtifactRecipe(Protocol):
    """One or more programs that are fetched or built in one go."""

    @property
    def title(self) -> str:
        """What progress calls it."""

    @property
    def release(self) -> Release:
        """Where its official release is."""

    @property
    def members(self) -> dict[str, str]:
        """The programs, and their names in the release's archive; "" where the release is the program."""

    @property
    def build_key(self) -> Key:
        """Its key in the cache when built.

        Of the compiler it holds the release series, not the last digit: an update of the machine's Go is no reason to
        replace what runs. Which one it was stands in the entry's note.
        """

    @property
    def build_packages(self) -> dict[str, str]:
        """The Debian packages that building it needs, with the reason for each; Go's are not among them."""

    def build(self, go: golang.Compiler, folder: Path) -> None:
        """Builds the programs into `folder`. Raises ToolchainError."""


@dataclass
class ArtifactStore:
    """The cache and the release hosts; Go is looked for when it is first needed.

    install: given the Debian packages that a build needs, with the reason for each, just before it. By default it does
    nothing, and a build that lacks one fails.
    """

    cache: Cache = field(default_factory=Cache)
    hosts: ReleaseHosts = field(default_factory=ReleaseHosts)
    install: Callable[[Mapping[str, str]], object] = lambda _: None

    def find(self, product: ArtifactRecipe) -> Entry | None:
        """What the cache has of it, whole and checked."""
        return self.cache.find(release_key(product)) or self.cache.find(product.build_key)

    def ensure(self, product: ArtifactRecipe) -> Entry:
        """It, from the cache or fetched or built now. Raises ToolchainError."""
        found = self.find(product)
        if found is not None:
            return found
        try:
            self.hosts.announce(product.title, product.release)
            return self.cache.make(release_key(product), lambda folder: self._fetch(product, folder))
        except NotAvailableError as reason:
            if packages := golang.required_packages() | product.build_packages:
                self.install(packages)
            go = golang.compiler(self.cache, self.hosts)
            say(f"{product.title}: building from Go modules ({reason})")
            return self.cache.make(product.build_key, lambda folder: self._build(product, go, folder))

    def _fetch(self, product: ArtifactRecipe, folder: Path) -> str:
        self.hosts.fetch_programs(product.release, product.members, folder)
        return f"official release {product.release.archive}"

    def _build(self, product: ArtifactRecipe, go: golang.Compiler, folder: Path) -> str:
        product.build(go, folder)
        return f"built from Go modules with Go {go.version}"


def release_key(product: ArtifactRecipe) -> Key:
    """Its key in the cache when taken from the release."""
    release = product.release
    name = product.build_key.name
    return key(name, archive=release.archive, checksum=release.checksum, members=product.members)
