"""This machine is prepared for VMs only where a stack has some that run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.libvirt.placement import Carrier, carrier, carrier_of
from host.workspace import Layout
from system.files import CHECKOUT

MACHINE = "{name: a, address: 10.0.0.1, machine: {hostKey: ssh-ed25519 A, privateKey: {secure: v1:x}}}"
VM = "{name: b, address: 10.0.0.2}"
JOIN = "hardway:join: {endpoint: 'https://10.0.0.9:6443', caKey: {secure: v1:y}}"

STACK_FILES = {
    "machines alone": (f"config:\n  {JOIN}\n  hardway:workers: [{MACHINE}]", Carrier.NONE),
    "machines alone, said without a namespace": (
        f"config:\n  {JOIN.partition(':')[2]}\n  workers: [{MACHINE}]",
        Carrier.NONE,
    ),
    "a machine and a VM": (f"config:\n  {JOIN}\n  hardway:workers: [{MACHINE}, {VM}]", Carrier.THIS_MACHINE),
    "machines under control planes": (f"config:\n  hardway:workers: [{MACHINE}]", Carrier.THIS_MACHINE),
    "the workers of the default lab": (f"config:\n  {JOIN}", Carrier.THIS_MACHINE),
    "workers that are encrypted": (f"config:\n  {JOIN}\n  hardway:workers: {{secure: v1:z}}", Carrier.THIS_MACHINE),
    "VMs elsewhere": ("config:\n  hardway:libvirtUri: qemu+ssh://root@there/system", Carrier.ANOTHER_MACHINE),
    "VMs here": ("config:\n  hardway:libvirtUri: qemu:///system", Carrier.THIS_MACHINE),
    "no configuration": ("", Carrier.THIS_MACHINE),
    "no mapping": ("config: [1]", Carrier.THIS_MACHINE),
    "no YAML": ("config: {", Carrier.THIS_MACHINE),
}


@pytest.mark.parametrize(("text", "expected"), STACK_FILES.values(), ids=STACK_FILES)
def test_what_carries_the_vms_is_told_by_the_stack_file(tmp_path: Path, text: str, expected: Carrier) -> None:
    file = tmp_path / "Pulumi.some.yaml"
    file.write_text(text)
    assert carrier_of(file) == expected


def test_a_stack_without_a_file_is_the_default_lab(tmp_path: Path) -> None:
    assert carrier_of(tmp_path / "Pulumi.none.yaml") == Carrier.THIS_MACHINE


def test_it_is_read_by_the_labs_own_python(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "Pulumi.mine.yaml").write_text(STACK_FILES["machines alone"][0])
    layout.lab.mkdir()
    layout.venv.symlink_to(Layout(CHECKOUT).venv)
    assert carrier(layout, "mine") == Carrier.NONE


def test_a_checkout_with_a_private_hypervisor_stays_with_it(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (tmp_path / "Pulumi.mine.yaml").write_text(STACK_FILES["machines alone"][0])
    layout.hypervisor.mkdir(parents=True)
    assert carrier(layout, "mine") == Carrier.THIS_MACHINE
