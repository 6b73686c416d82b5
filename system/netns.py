"""Leave the lab's private network namespace, for programs that need what this machine reaches.

The VMs' way to the internet (egress) is no substitute: it may be missing, and it leads neither to IPv6 nor to a proxy
on the machine's loopback.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from system.commands import as_root, run_visibly
from system.errors import ToolchainError
from system.files import CHECKOUT

NAMESPACE_VARIABLE = "HARDWAY_NAMESPACE"
"""Variable of every process in the namespaces of a private libvirt: path of the machine's own network namespace."""


def is_inside() -> bool:
    """Return True if this process runs in the lab's private network namespace."""
    return bool(os.environ.get(NAMESPACE_VARIABLE))


def prefix() -> list[str]:
    """Return the words to put before root's commands that need the machine's own network."""
    return ["nsenter", f"--net={os.environ[NAMESPACE_VARIABLE]}", "--"] if is_inside() else []


def run_toolchain(*arguments: str) -> None:
    """Run `python3 -m toolchain` in the machine's own network and show its progress.

    Raises:
        ToolchainError: It fails.
        HostError: This user cannot become root to leave the namespace.
    """
    run_visibly(
        ["env", f"--unset={NAMESPACE_VARIABLE}", *_leave(), sys.executable, "-m", "toolchain", *arguments],
        failure=f"`python3 -m toolchain {' '.join(arguments)}` failed; see above for the reason.",
        folder=CHECKOUT,
        error=ToolchainError,
    )


def _leave() -> list[str]:
    """Return the words to put before this user's commands that need the machine's own network."""
    if not is_inside():
        return []
    if os.geteuid() == 0:
        return prefix()
    # Only root can change namespaces; the command itself runs as this user. sudo sets another PATH, so set ours again.
    become_caller = ["setpriv", f"--reuid={os.getuid()}", f"--regid={os.getgid()}", "--init-groups", "--"]
    own = ["env", f"PATH={os.environ.get('PATH', os.defpath)}", f"HOME={Path.home()}"]
    return [*as_root(), "--preserve-env", *prefix(), *become_caller, *own]
