"""Where this machine gets Debian's packages from, so that what is made here gets them from the same places."""

from __future__ import annotations

import re

from system.commands import run
from system.errors import ToolchainError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
CARRIED_OVER = re.compile(r"Acquire::(https?|Retries|Check-Valid-Until|Check-Date)\b")
"""apt's settings of how packages are fetched: proxies, certificates, snapshots of the past."""


def sources(suite: str) -> str:
    """apt sources for a system of the suite, made of the repositories that this machine takes Debian's packages from.

    Raises ToolchainError where this machine knows none.
    """
    fields = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"
    command = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages"]
    listed = run(command, why="asking apt where packages come from")
    return sources_like(listed, suite)


def sources_like(listed: str, suite: str) -> str:
    """The same, of repositories listed as lines of URI, code name, component and origin."""
    repositories = set()
    for line in listed.splitlines():
        uri, codename, component, origin = line.split(" ", 3)
        # Of `bookworm-security` the second part says what it is for, the first which release it belongs to.
        pocket = codename.partition("-")[2]
        if (origin, component) == ("Debian", "main") and pocket in ("", "updates", "security"):
            repositories.add((uri, f"{suite}-{pocket}".rstrip("-")))
    if not any(release == suite for _, release in repositories):
        raise ToolchainError(
            "apt on this machine knows no repository of Debian's packages, which the VM image is made from. "
            "Run `apt-get update` first; on another system than Debian, name a cloud image instead."
        )
    return "\n".join(
        f"Types: deb\nURIs: {uri}\nSuites: {release}\nComponents: main\nSigned-By: {KEYRING}\n"
        for uri, release in sorted(repositories)
    )


def acquire_options() -> list[str]:
    """This machine's settings of apt that say how packages are fetched, as lines of apt's configuration."""
    dump = run(["apt-config", "dump"], why="asking apt for its settings")
    lines = (line for line in dump.splitlines() if not line.endswith(' "";'))
    return [line for line in lines if CARRIED_OVER.match(line)]
