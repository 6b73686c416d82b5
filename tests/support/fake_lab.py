"""A stack that is up, with two VMs, whose engine and libvirt are fake programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from host import environment
from host.workspace import Workspace
from tests.support.fake_programs import put
from tests.support.fake_virsh import FakeVirsh

LIBVIRT_FOLDER = Path("/var/lib/libvirt")
PROVIDER = {"urn": "urn::libvirt", "id": "1", "type": "pulumi:providers:libvirt", "inputs": {"uri": "qemu:///system"}}
_ENGINE = """\
case "$*" in
    *export*) cat "{folder}/state.json" ;;
    *import*) cp "${{5#--file=}}" "{folder}/state.json" ;;
esac
"""


def machine(name: str) -> dict[str, Any]:
    """Return the component of a node in the state."""
    return {"urn": f"urn::{name}", "type": "hardway:machine:Machine"}


def domain(name: str) -> dict[str, Any]:
    """Return the VM of a node in the state."""
    return {
        "urn": f"urn::{name}-domain",
        "type": "libvirt:index/domain:Domain",
        "parent": f"urn::{name}",
        "provider": "urn::libvirt::1",
        "inputs": {"name": name},
    }


class FakeLab:
    """A stack `dev` of a checkout.

    Attributes:
        workspace: The checkout.
        virsh: The VMs.
    """

    def __init__(self, checkout: Path, vms: Mapping[str, str], *, private: bool = False) -> None:
        """Prepare the checkout.

        Args:
            checkout: The checkout, which may exist.
            vms: The states of the VMs.
            private: True if libvirt is a private one.
        """
        self.workspace = Workspace(checkout)
        self._engine = checkout.with_name(f"{checkout.name}-engine")
        libvirt = self.workspace.hypervisor / "lib" if private else checkout.with_name("libvirt")
        for folder in (checkout, self._engine, libvirt):
            folder.mkdir(parents=True, exist_ok=True)
        self.virsh = FakeVirsh(libvirt, vms, LIBVIRT_FOLDER if private else None)
        put(self._engine, "engine", _ENGINE.format(folder=self._engine))
        programs = {"pulumi": self._engine / "engine", "virsh": libvirt / "virsh"}
        environment.write(self.workspace, environment.render(self.workspace, "dev", "qemu"), programs, False)

    @classmethod
    def up(cls, checkout: Path, *, private: bool = False) -> FakeLab:
        """Return a lab whose VMs `a` and `b` run."""
        lab = cls(checkout, {"a": "running", "b": "running"}, private=private)
        lab.set_state(PROVIDER, machine("a"), machine("b"), domain("a"), domain("b"))
        lab.workspace.stack_file("dev").write_text("config: {}\n")
        lab.write_disks("old")
        return lab

    def set_state(self, *resources: Mapping[str, Any], generation: str = "") -> None:
        """Set the state of the stack."""
        document = {"generation": generation, "deployment": {"resources": resources}}
        (self._engine / "state.json").write_text(json.dumps(document))

    @property
    def generation(self) -> str:
        """The mark in the state of the stack."""
        return str(json.loads((self._engine / "state.json").read_text())["generation"])

    def record_update(self, number: int) -> None:
        """Add a successful update to the history of the stack."""
        path = self.workspace.state / f".pulumi/history/hardway/dev/dev-{number}.history.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"kind": "update", "result": "succeeded", "endTime": number, "config": {"number": number}}
        path.write_text(json.dumps(record))

    def write_disks(self, text: str) -> None:
        """Write something on the disks of all VMs."""
        for name in self.virsh.states():
            for disk in ("qcow2", "iso"):
                (self.virsh.folder / f"{name}.{disk}").write_text(text)

    def disks(self) -> set[str]:
        """Return the contents of all disks."""
        return {path.read_text() for disk in ("qcow2", "iso") for path in self.virsh.folder.glob(f"*.{disk}")}
