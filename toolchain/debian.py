"""This machine's sources of Debian packages. The VM image is made from the same ones."""

from __future__ import annotations

import re

from system.commands import run
from system.errors import ToolchainError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ACQUIRE_SETTING = re.compile(r"Acquire::(https?|Retries|Check-Valid-Until|Check-Date)\b")
"""apt settings that decide how packages are downloaded: proxies, certificates, snapshots of the past."""


def sources(suite: str) -> str:
    """Return apt sources for a system of the given suite, with the Debian repositories of this machine.

    Raises:
        ToolchainError: apt on this machine knows no repository with Debian's packages.
    """
    fields = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    listing = run(command, why="listing the package repositories of this machine")
    return sources_from(listing, suite)


def sources_from(listing: str, suite: str) -> str:
    """Return apt sources for a system of the given suite, with the Debian repositories of a listing.

    Args:
        listing: A line for each repository with its URI, code name, component and origin.
        suite: The suite's code name; it may differ from that of this machine.

    Raises:
        ToolchainError: The listing has no repository with Debian's packages.
    """
    repositories = set()
    for line in listing.splitlines():
        uri, codename, component, origin = line.split(" ", 3)
        # A code name such as `bookworm-security` is the release and the purpose of the repository.
        pocket = codename.partition("-")[2]
        if (origin, component) == ("Debian", "main") and pocket in ("", "updates", "security"):
            repositories.add((uri, f"{suite}-{pocket}".rstrip("-")))
    if not any(release == suite for _, release in repositories):
        raise ToolchainError(
            "apt on this machine knows no repository with Debian's packages, which the VM image is made from. "
            "On Debian, run `apt-get update` first. On another system, set `hardway:image` to a cloud image."
        )
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {release}\nComponents: main\nSigned-By: {KEYRING}\n"
        for uri, release in sorted(repositories)
    )


def acquire_options() -> list[str]:
    """Return this machine's apt settings that decide how packages are downloaded, as lines of apt's configuration."""
    dump = run(["apt-config", "dump"], why="reading the apt settings of this machine")
    lines = (line for line in dump.splitlines() if not line.endswith(' "";'))
    return [line for line in lines if ACQUIRE_SETTING.match(line)]
