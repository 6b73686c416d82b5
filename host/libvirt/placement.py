"""The place where the VMs of a stack run. This machine is prepared for VMs only if they run here.

Run `python -m host.libvirt.placement STACK-FILE` with a Python that has PyYAML.
"""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from host.workspace import Workspace
from system.commands import run
from system.errors import HostError
from system.files import CHECKOUT


class VmPlacement(StrEnum):
    """The machine that runs a stack's VMs. NONE if every node is an existing machine."""

    THIS_MACHINE = "this machine"
    ANOTHER_MACHINE = "another machine"
    NONE = "none"


def is_elsewhere(libvirt_uri: str) -> bool:
    """Return True if a libvirt URI names another machine."""
    return bool(urlsplit(libvirt_uri).netloc)


def placement(workspace: Workspace, stack: str) -> VmPlacement:
    """Return the placement of a stack's VMs. The virtual environment must exist.

    A checkout with a private libvirt stays with it, because its commands run inside.

    Raises:
        HostError: The stack file cannot be read.
    """
    if workspace.hypervisor.exists():
        return VmPlacement.THIS_MACHINE
    # The Python of this process may not have PyYAML.
    output = run(
        [workspace.venv / "bin/python", "-m", "host.libvirt.placement", workspace.stack_file(stack)],
        why=f"reading {workspace.stack_file(stack)}",
        folder=CHECKOUT,
        error=HostError,
    )
    return VmPlacement(output.strip())


def placement_of(stack_file: Path) -> VmPlacement:
    """Return the placement of the VMs in a stack file; that of the default lab if there is no file.

    Encrypted values are not read. Invalid or missing values count as the default, because the Pulumi program reports
    all errors.
    """
    import yaml

    try:
        config = yaml.safe_load(stack_file.read_text(encoding="utf-8"))["config"]
        values = {str(key).rpartition(":")[2]: value for key, value in config.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return VmPlacement.THIS_MACHINE
    if _has_only_machines(values):
        return VmPlacement.NONE
    elsewhere = all(is_elsewhere(uri) for uri in _uris(values))
    return VmPlacement.ANOTHER_MACHINE if elsewhere else VmPlacement.THIS_MACHINE


def _uris(values: Mapping[str, Any]) -> list[str]:
    """Return the URIs of the daemons that run VMs."""
    hosts = values.get("hosts")
    uris = (
        [str(host.get("uri")) for host in hosts.values() if isinstance(host, dict)] if isinstance(hosts, dict) else []
    )
    return uris or [str(values.get("libvirtUri"))]


def _has_only_machines(values: Mapping[str, Any]) -> bool:
    """Return True if a lab has no VM. Control planes are always VMs."""
    workers = values.get("workers")
    return (
        bool(values.get("join"))
        and not values.get("controlPlanes")
        and isinstance(workers, list)
        and all(isinstance(worker, dict) and worker.get("machine") for worker in workers)
    )


if __name__ == "__main__":
    print(placement_of(Path(sys.argv[1])))
