"""Getting out of the lab's private network, for programs that are to reach what the machine reaches.

That which VMs have is no match: it may be missing, and leads neither to IPv6 nor to a proxy of the machine's loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from system.commands import as_root
from system.errors import ToolchainError
from system.files import CHECKOUT

NAMESPACE_VARIABLE = "HARDWAY_NAMESPACE"
"""Set where a process runs in the network namespace of a private hypervisor: the path of the machine's own."""


def is_inside() -> bool:
    """Whether this process runs in the lab's private network namespace."""
    return bool(os.environ.get(NAMESPACE_VARIABLE))


def prefix() -> list[str]:
    """What to put before a command of root's that must reach the machine's own network."""
    return ["nsenter", f"--net={os.environ[NAMESPACE_VARIABLE]}", "--"] if is_inside() else []


def run_toolchain(*arguments: str) -> None:
    """Runs `python3 -m toolchain` in the machine's own network, its progress shown. Raises ToolchainError."""
    environment = {name: value for name, value in os.environ.items() if name != NAMESPACE_VARIABLE}
    command = [*_way_out(), sys.executable, "-m", "toolchain", *arguments]
    result = subprocess.run(command, cwd=CHECKOUT, env=environment, stdout=sys.stderr, check=False)
    if result.returncode != 0:
        raise ToolchainError(f"`python3 -m toolchain {' '.join(arguments)}` failed; see above for the reason.")


def _way_out() -> list[str]:
    """What to put before a command of the caller's own that must reach the machine's own network."""
    if os.geteuid() == 0:
        return prefix()
    # Root only to go out: the command itself runs as who called it. sudo has a PATH of its own.
    become_caller = ["setpriv", f"--reuid={os.getuid()}", f"--regid={os.getgid()}", "--init-groups", "--"]
    own = ["env", f"PATH={os.environ.get('PATH', os.defpath)}", f"HOME={Path.home()}"]
    return [*as_root(), "--preserve-env", *prefix(), *become_caller, *own]
