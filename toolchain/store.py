"""The source of every artifact with an official release: the cache, then the release, then a build from Go modules.

A version that `lab/versions.toml` does not list has no pinned sources, so it is only downloaded. Its checksum is
trusted at the first download, and then held: see `toolchain.release_lock`.

A release and a build of the same artifact have different keys in the cache. `ArtifactStore` uses the one that exists,
so a lab keeps its binaries when a release host becomes reachable or unreachable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.versions import Release
from system.console import say
from system.errors import ToolchainError
from toolchain import golang
from toolchain.cache import Cache, Entry, Key, key
from toolchain.release import HOSTS_VARIABLE, NotAvailableError, ReleaseHosts
from toolchain.release_lock import ReleaseLock


class ArtifactRecipe(Protocol):
    """The instructions to get one artifact: where its release is, and how to build it instead.

    An artifact is one or more programs that are downloaded or built together.
    """

    @property
    def title(self) -> str:
        """The name and version that messages show."""

    @property
    def release(self) -> Release:
        """The addresses of the official release."""

    @property
    def members(self) -> dict[str, str]:
        """The name in the release's archive of each program, or "" if the release's file is the program itself."""

    @property
    def build_key(self) -> Key | None:
        """The key of the build in the cache; None if the artifact cannot be built.

        It includes the release series of the compiler, but not its patch version: an update of this machine's Go is no
        reason to replace running programs. The entry's note has the full version.
        """

    @property
    def build_packages(self) -> dict[str, str]:
        """The Debian packages that the build needs besides Go, with the reason for each."""

    def build(self, go: golang.Compiler, folder: Path) -> None:
        """Build the programs into `folder`. Raises ToolchainError."""


@dataclass
class ArtifactStore:
    """The source of all artifacts.

    Attributes:
        cache: Keeps the artifacts.
        hosts: Serve the official releases.
        lock: Holds the checksums of releases that cannot be built.
        install: Called just before a build with the Debian packages that it needs and the reason for each. By default
            nothing is installed, and a build fails if a package is missing.
    """

    cache: Cache = field(default_factory=Cache)
    hosts: ReleaseHosts = field(default_factory=ReleaseHosts)
    lock: ReleaseLock = field(default_factory=ReleaseLock)
    install: Callable[[Mapping[str, str]], object] = lambda _: None

    def find(self, recipe: ArtifactRecipe) -> Entry | None:
        """Return the artifact from the cache, or None if it is missing or damaged there."""
        if recipe.build_key is None:
            recorded = self.lock.sha256(recipe.release.archive)
            return self.cache.find(release_key(recipe, recorded)) if recorded else None
        return self.cache.find(release_key(recipe)) or self.cache.find(recipe.build_key)

    def ensure(self, recipe: ArtifactRecipe) -> Entry:
        """Return the artifact, and download or build it first if it is not in the cache. Raises ToolchainError."""
        cached = self.find(recipe)
        if cached is not None:
            return cached
        build_key = recipe.build_key
        if build_key is None:
            return self._ensure_release(recipe)
        try:
            self.hosts.announce(recipe.title, recipe.release)
            return self.cache.make(release_key(recipe), lambda folder: self._fetch(recipe, folder))
        except NotAvailableError as reason:
            if packages := golang.required_packages() | recipe.build_packages:
                self.install(packages)
            go = golang.compiler(self.cache, self.hosts)
            say(f"{recipe.title}: building from Go modules ({reason})")
            return self.cache.make(build_key, lambda folder: self._build(recipe, go, folder))

    def _ensure_release(self, recipe: ArtifactRecipe) -> Entry:
        """Download a release that cannot be built, and record its checksum or compare it with the recorded one."""
        url = recipe.release.archive
        try:
            self.hosts.announce(recipe.title, recipe.release)
            published = self.hosts.published_sha256(recipe.release)
            recorded = self.lock.sha256(url)
            if recorded and published != recorded:
                raise ToolchainError(
                    f"{url}: the published SHA-256 is {published}, but {self.lock.file.name} has {recorded}. Somebody "
                    "replaced the release. Choose another version, or remove the line if you trust the new content."
                )
            key = release_key(recipe, published)
            entry = self.cache.make(key, lambda folder: self._fetch(recipe, folder, published))
        except NotAvailableError as reason:
            raise ToolchainError(
                f"{recipe.title} is not listed in lab/versions.toml, so it can only be downloaded, and that is not "
                f"possible: {reason}. Choose a listed version, or name a mirror of the host in {HOSTS_VARIABLE}."
            ) from None
        if not recorded:
            self.lock.record(url, published)
            say(f"{recipe.title}: recorded the SHA-256 of its release in {self.lock.file.name}")
        return entry

    def _fetch(self, recipe: ArtifactRecipe, folder: Path, expected: str = "") -> str:
        self.hosts.fetch_programs(recipe.release, recipe.members, folder, expected=expected)
        return f"official release {recipe.release.archive}"

    def _build(self, recipe: ArtifactRecipe, go: golang.Compiler, folder: Path) -> str:
        recipe.build(go, folder)
        return f"built from Go modules with Go {go.version}"


def release_key(recipe: ArtifactRecipe, sha256: str = "") -> Key:
    """Return the key in the cache of an artifact that comes from its official release.

    Args:
        recipe: The artifact.
        sha256: The checksum that holds for an artifact that cannot be built.
    """
    release, held = recipe.release, {"sha256": sha256} if sha256 else {}
    name = recipe.title.replace(" ", "-")
    return key(name, archive=release.archive, checksum=release.checksum, members=recipe.members, **held)
