"""The libvirt plugin with a private libvirtd: it deletes what it created, and failures do not block later runs."""

from __future__ import annotations

import shlex
import stat
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from host.libvirt.private import URI, PrivateLibvirt
from host.libvirt.undefined import define_again
from tests.support.fake_programs import put
from tests.support.inside import virsh
from tests.support.pulumi_project import Project

PROGRAM = f"""
options = pulumi.ResourceOptions(provider=libvirt.Provider("libvirt", uri="{URI}"))
pool = libvirt.Pool("pool", name="lab", type="dir", path="/var/lib/libvirt/images/lab", opts=options)
base = libvirt.Volume("base", name="base", pool=pool.name, source=values["image"], opts=options)
disk = libvirt.Volume("disk", name="disk", pool=pool.name, base_volume_id=base.id, size=2**21, opts=options)
libvirt.CloudInitDisk("seed", name="seed", pool=pool.name, user_data="#cloud-config\\n", meta_data="instance-id: vm\\n",
    opts=options)
network = libvirt.Network("network", name="lab", mode="nat", addresses=["10.99.0.0/24"], opts=options)
libvirt.Domain("domain", name="vm", type="qemu", memory=values["memory"], kernel=values["kernel"],
    disks=[{{"volume_id": disk.id}}], network_interfaces=[{{"network_id": network.id, "wait_for_lease": False}}],
    graphics={{"type": "vnc", "listen_type": "socket"}}, opts=options)
"""

NAMES = f"""
options = pulumi.ResourceOptions(provider=libvirt.Provider("libvirt", uri="{URI}"))
network = libvirt.Network("network", name="lab", mode="nat", domain="lab.local", addresses=["10.99.0.0/24"],
    dhcp={{"enabled": True}}, dns={{"enabled": True, "hosts": values["hosts"]}}, opts=options)
libvirt.Domain("domain", name="vm", type="qemu", memory=64, running=False, network_interfaces=[{{
    "network_id": network.id, "hostname": "vm-525400630005", "addresses": ["10.99.0.5"], "mac": "52:54:00:63:00:05",
    "wait_for_lease": False}}], graphics={{"type": "vnc", "listen_type": "socket"}},
    opts=pulumi.ResourceOptions.merge(options,
        pulumi.ResourceOptions(ignore_changes=["networkInterfaces[0].addresses"])))
"""


@pytest.fixture
def project(engine: Path, hypervisor: PrivateLibvirt, tmp_path: Path) -> Project:
    assert engine
    folder = tmp_path / "project"
    return Project(folder, prefix=hypervisor.enter(["env", f"--chdir={folder}"]))


def write(project: Project, *, memory: int = 64, kernel: str | None = None) -> None:
    """Set a project's program that creates a VM with an empty disk."""
    image = project.folder / "image.qcow2"
    if not image.exists():
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True)
    project.write(PROGRAM, {"image": str(image), "memory": memory, "kernel": kernel})


def listed(hypervisor: PrivateLibvirt, *command: str) -> list[str]:
    """Return the names that virsh lists."""
    return virsh(hypervisor, *command, "--name").split()


def test_resources_are_stable_and_destroyed_completely(project: Project, hypervisor: PrivateLibvirt) -> None:
    write(project)
    project.up()
    assert listed(hypervisor, "list") == ["vm"]
    assert listed(hypervisor, "net-list") == ["lab"]
    assert project.up().steps == []
    project.destroy()
    for command in (("list", "--all"), ("net-list", "--all"), ("pool-list", "--all")):
        assert listed(hypervisor, *command) == []


@pytest.mark.parametrize("is_running", [True, False], ids=["running", "gone"])
def test_undefined_objects_do_not_block_a_destroy(
    project: Project, hypervisor: PrivateLibvirt, tmp_path: Path, is_running: bool
) -> None:
    write(project)
    project.up()
    for prefix, name in (("", "vm"), ("net-", "lab")):
        virsh(hypervisor, f"{prefix}undefine", name)
        if not is_running:
            virsh(hypervisor, f"{prefix}destroy", name)
    put(tmp_path, "virsh", f'exec {shlex.join(hypervisor.enter(["virsh"]))} "$@"')
    found = define_again(project.export()["deployment"], tmp_path / "virsh")
    assert sorted(found) == ["domain vm", "network lab"]
    project.destroy()
    for command in (("list", "--all"), ("net-list", "--all"), ("pool-list", "--all")):
        assert listed(hypervisor, *command) == []


def test_disks_and_cloud_init_data_are_private(project: Project, hypervisor: PrivateLibvirt) -> None:
    write(project)
    project.up()
    pool = hypervisor.instance / "lib/images/lab"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in pool.iterdir()}
    assert modes == {"base": 0o644, "disk": 0o600, "seed": 0o600}


def test_changed_memory_keeps_the_disk(project: Project, hypervisor: PrivateLibvirt) -> None:
    write(project)
    project.up()
    write(project, memory=96)
    changed = project.up()
    assert "replace" in changed.operations("domain")
    assert changed.operations("disk") == []
    assert listed(hypervisor, "list") == ["vm"]


def test_failed_domain_does_not_block_the_next_run(project: Project, hypervisor: PrivateLibvirt) -> None:
    write(project, kernel="/no/such/kernel")
    assert "/no/such/kernel" in project.up(fails=True).error("domain")
    assert listed(hypervisor, "list", "--all") == []
    write(project)
    project.up()
    assert listed(hypervisor, "list") == ["vm"]


def test_network_names_change_in_place(project: Project, hypervisor: PrivateLibvirt) -> None:
    def described(path: str) -> list[ElementTree.Element]:
        return ElementTree.fromstring(virsh(hypervisor, "net-dumpxml", "lab")).findall(path)

    com, org = {"hostname": "a.example.com", "ip": "10.99.0.5"}, {"hostname": "a.example.org", "ip": "10.99.0.6"}
    project.write(NAMES, {"hosts": None})
    project.up()
    [uuid] = virsh(hypervisor, "net-uuid", "lab").split()
    for hosts in ([com], [com, org], [org], None):
        project.write(NAMES, {"hosts": hosts})
        for run in (project.preview(), project.up()):
            assert (run.operations("network"), run.operations("domain")) == (["update"], [])
        known = {host.findtext("hostname"): host.get("ip") for host in described("dns/host")}
        assert known == {host["hostname"]: host["ip"] for host in hosts or []}
        assert project.up().steps == []
    assert virsh(hypervisor, "net-uuid", "lab").split() == [uuid]
    assert [dict(host.items()) for host in described("ip/dhcp/host")] == [
        {"mac": "52:54:00:63:00:05", "name": "vm-525400630005", "ip": "10.99.0.5"}
    ]
