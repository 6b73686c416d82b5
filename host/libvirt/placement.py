"""What carries the VMs of a stack, so that this machine is prepared for that and no more.

python -m host.libvirt.placement STACK-FILE    by a Python that reads YAML
"""

import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from host.workspace import Workspace
from system.files import CHECKOUT


class VmPlacement(StrEnum):
    """NONE where every node is a machine that is already there."""

    THIS_MACHINE = "this machine"
    ANOTHER_MACHINE = "another machine"
    NONE = "none"


def is_elsewhere(libvirt_uri: str) -> bool:
    """Whether libvirt runs on another machine."""
    return bool(urlsplit(libvirt_uri).netloc)


def placement(workspace: Workspace, stack: str) -> VmPlacement:
    """What carries a stack's VMs. The virtual environment has to be there.

    A checkout that has a private hypervisor stays with it, for its commands are run inside.
    """
    if workspace.hypervisor.exists():
        return VmPlacement.THIS_MACHINE
    # The Python that this runs by may not read YAML.
    command = [str(workspace.venv / "bin/python"), "-m", "host.libvirt.placement", str(workspace.stack_file(stack))]
    told = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    return VmPlacement(told.stdout.strip())


def placement_of(stack_file: Path) -> VmPlacement:
    """What carries the VMs of the lab that a stack file describes; that of the default lab where there is no file.

    It is read as it stands, without what is encrypted. Of what is not right there the usual is believed; the program
    tells all that is wrong.
    """
    import yaml

    try:
        given = yaml.safe_load(stack_file.read_text(encoding="utf-8"))["config"]
        values = {str(key).rpartition(":")[2]: value for key, value in given.items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return VmPlacement.THIS_MACHINE
    if _has_machines_alone(values):
        return VmPlacement.NONE
    return VmPlacement.ANOTHER_MACHINE if is_elsewhere(str(values.get("libvirtUri"))) else VmPlacement.THIS_MACHINE


def _has_machines_alone(values: Mapping[str, Any]) -> bool:
    """Whether a lab makes no VM. A control plane is always one."""
    workers = values.get("workers")
    return (
        bool(values.get("join"))
        and not values.get("controlPlanes")
        and isinstance(workers, list)
        and all(isinstance(worker, dict) and worker.get("machine") for worker in workers)
    )


if __name__ == "__main__":
    print(placement_of(Path(sys.argv[1])))
