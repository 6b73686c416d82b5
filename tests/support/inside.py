"""Commands inside a private hypervisor."""

from __future__ import annotations

import subprocess

from host.libvirt.private import PrivateLibvirt

NETWORK = """\
<network>
  <name>lab</name>
  <forward mode="nat"/>
  <bridge name="hw-test"/>
  <ip address="10.99.0.1" netmask="255.255.255.0"><dhcp><range start="10.99.0.10" end="10.99.0.20"/></dhcp></ip>
</network>
"""


def run(hypervisor: PrivateLibvirt, *command: str) -> str:
    """Return the standard output of a command in the namespaces of the hypervisor."""
    return subprocess.run(hypervisor.enter(command), check=True, capture_output=True, text=True).stdout.strip()


def virsh(hypervisor: PrivateLibvirt, *command: str) -> str:
    """Return the standard output of virsh."""
    return run(hypervisor, "virsh", "--connect", "qemu:///system", *command)


def define(hypervisor: PrivateLibvirt, kind: str, description: str) -> None:
    """Define an object of libvirt.

    Args:
        hypervisor: The hypervisor.
        kind: The prefix of the define command of virsh, such as `net-`.
        description: The XML of the object.
    """
    file = hypervisor.instance / f"{kind}define.xml"
    file.write_text(description)
    virsh(hypervisor, f"{kind}define", str(file))
