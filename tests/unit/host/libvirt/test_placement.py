"""The machine that runs a stack's VMs."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.libvirt.placement import VmPlacement, placement, placement_of
from host.workspace import Workspace
from system.files import CHECKOUT

MACHINE = "{name: a, address: 10.0.0.1, machine: {hostKey: ssh-ed25519 A, privateKey: {secure: v1:x}}}"
VM = "{name: b, address: 10.0.0.2}"
JOIN = "hardway:join: {endpoint: 'https://10.0.0.9:6443', caKey: {secure: v1:y}}"

STACK_FILES = {
    "only machines": (f"config:\n  {JOIN}\n  hardway:workers: [{MACHINE}]", VmPlacement.NONE),
    "only machines, without a namespace": (
        f"config:\n  {JOIN.partition(':')[2]}\n  workers: [{MACHINE}]",
        VmPlacement.NONE,
    ),
    "a machine and a VM": (f"config:\n  {JOIN}\n  hardway:workers: [{MACHINE}, {VM}]", VmPlacement.THIS_MACHINE),
    "machines under control planes": (f"config:\n  hardway:workers: [{MACHINE}]", VmPlacement.THIS_MACHINE),
    "the workers of the default lab": (f"config:\n  {JOIN}", VmPlacement.THIS_MACHINE),
    "workers that are encrypted": (f"config:\n  {JOIN}\n  hardway:workers: {{secure: v1:z}}", VmPlacement.THIS_MACHINE),
    "VMs elsewhere": ("config:\n  hardway:libvirtUri: qemu+ssh://root@there/system", VmPlacement.ANOTHER_MACHINE),
    "VMs on several hosts": (
        "config:\n  hardway:hosts: {a: {uri: qemu+ssh://a/system}, b: {uri: qemu+ssh://b/system}}",
        VmPlacement.ANOTHER_MACHINE,
    ),
    "VMs here and elsewhere": (
        "config:\n  hardway:hosts: {a: {uri: qemu+ssh://a/system}, b: {uri: qemu:///system}}",
        VmPlacement.THIS_MACHINE,
    ),
    "hosts that are encrypted": ("config:\n  hardway:hosts: {secure: v1:z}", VmPlacement.THIS_MACHINE),
    "VMs here": ("config:\n  hardway:libvirtUri: qemu:///system", VmPlacement.THIS_MACHINE),
    "no configuration": ("", VmPlacement.THIS_MACHINE),
    "no mapping": ("config: [1]", VmPlacement.THIS_MACHINE),
    "no YAML": ("config: {", VmPlacement.THIS_MACHINE),
}


@pytest.mark.parametrize(("text", "expected"), STACK_FILES.values(), ids=STACK_FILES)
def test_the_stack_file_decides_the_placement(tmp_path: Path, text: str, expected: VmPlacement) -> None:
    file = tmp_path / "Pulumi.some.yaml"
    file.write_text(text)
    assert placement_of(file) == expected


def test_a_stack_without_a_file_is_the_default_lab(tmp_path: Path) -> None:
    assert placement_of(tmp_path / "Pulumi.none.yaml") == VmPlacement.THIS_MACHINE


def test_the_labs_own_python_reads_it(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "Pulumi.mine.yaml").write_text(STACK_FILES["only machines"][0])
    workspace.lab.mkdir()
    workspace.venv.symlink_to(Workspace(CHECKOUT).venv)
    assert placement(workspace, "mine") == VmPlacement.NONE


def test_a_checkout_stays_with_its_private_libvirt(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "Pulumi.mine.yaml").write_text(STACK_FILES["only machines"][0])
    workspace.hypervisor.mkdir(parents=True)
    assert placement(workspace, "mine") == VmPlacement.THIS_MACHINE
