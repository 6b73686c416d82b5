"""An existing machine: a VM on the network of a running lab that Pulumi does not know."""

import subprocess
import xml.etree.ElementTree as ElementTree

import yaml

from host.access import ssh
from tests.support.running_lab import RunningLab, wait_for

NAME = "spare"
MAC = "52:54:00:f0:00:30"
DISK, SEED = f"{NAME}.qcow2", f"{NAME}.iso"


class SpareMachine:
    """A VM with the disk image and hardware of a VM of the lab, and with its own keys."""

    def __init__(self, lab: RunningLab, *, like: str, address: str) -> None:
        """Create the VM and wait until it is set up.

        Args:
            lab: A lab that is up.
            like: The node whose VM to copy.
            address: A free address of the lab's network.
        """
        self._lab, self._name = lab, lab.configuration.get("name", "hardway")
        self._folder = lab.workspace.lab / NAME
        self._folder.mkdir()
        self._reservation = f"<host mac='{MAC}' name='{NAME}' ip='{address}'/>"
        key, host_key = self._new_key("key"), self._new_key("host_key")
        self.login = ssh.Login(address=address, key=key, host_key=self._public("host_key"))
        self._make_seed(host_key)
        self._virsh("net-update", self._name, "add", "ip-dhcp-host", self._reservation, "--live", "--config")
        backing = ("--backing-vol", f"{self._name}-hypervisor-base", "--backing-vol-format", "qcow2")
        self._virsh("vol-create-as", self._name, DISK, "10G", "--format", "qcow2", *backing)
        size = str((self._folder / SEED).stat().st_size)
        self._virsh("vol-create-as", self._name, SEED, size, "--format", "raw")
        self._virsh("vol-upload", SEED, str(self._folder / SEED), "--pool", self._name)
        (self._folder / "domain.xml").write_text(self._domain(f"{self._name}-{like}"))
        self._virsh("define", str(self._folder / "domain.xml"))
        self._virsh("start", NAME)
        wait_for("the spare machine answers", lambda: self.ssh("echo up", check=False) == "up\n")
        self.ssh("systemctl start cloud-final.service; cloud-init status --wait >/dev/null || true")

    def ssh(self, script: str, check: bool = True) -> str:
        """Return the standard output of a shell script on the machine."""
        command = ssh.command(self._folder, self.login)
        return self._lab.run("in-lab", *command, script, check=check).stdout

    def purge(self) -> None:
        """Delete the VM and everything that was created for it."""
        self._virsh("destroy", NAME)
        self._virsh("undefine", NAME)
        for volume in (DISK, SEED):
            self._virsh("vol-delete", volume, "--pool", self._name)
        self._virsh("net-update", self._name, "delete", "ip-dhcp-host", self._reservation, "--live", "--config")

    def _new_key(self, name: str) -> str:
        file = self._folder / f"new_{name}"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)], check=True)
        return file.read_text()

    def _public(self, name: str) -> str:
        return (self._folder / f"new_{name}.pub").read_text().strip()

    def _make_seed(self, host_key: str) -> None:
        """Create the image with the instructions for cloud-init: accept the key, and use the host key."""
        user_data = {
            "hostname": NAME,
            "disable_root": False,
            "users": [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": [self._public("key")]}],
            "ssh_keys": {"ed25519_private": host_key, "ed25519_public": self._public("host_key")},
        }
        (self._folder / "user-data").write_text(f"#cloud-config\n{yaml.safe_dump(user_data)}")
        (self._folder / "meta-data").write_text(f"instance-id: {NAME}\nlocal-hostname: {NAME}\n")
        options = ["-quiet", "-output", SEED, "-volid", "cidata", "-joliet", "-rock"]
        subprocess.run(["genisoimage", *options, "user-data", "meta-data"], cwd=self._folder, check=True)

    def _domain(self, like: str) -> str:
        """Return the definition of another VM, with the disks and the MAC address of this one."""
        domain = ElementTree.fromstring(self._virsh("dumpxml", "--inactive", like))
        for uuid in domain.findall("uuid"):
            domain.remove(uuid)
        for name in domain.findall("name"):
            name.text = NAME
        for volume, disk in zip((DISK, SEED), domain.findall("devices/disk"), strict=True):
            disk.set("type", "volume")
            for source in disk.findall("source"):
                source.attrib = {"pool": self._name, "volume": volume}
        for mac in domain.findall("devices/interface/mac"):
            mac.set("address", MAC)
        return ElementTree.tostring(domain, encoding="unicode")

    def _virsh(self, *arguments: str) -> str:
        return self._lab.run("virsh", *arguments).stdout
