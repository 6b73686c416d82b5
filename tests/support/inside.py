"""What tests do inside a private hypervisor."""

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
    return subprocess.run(hypervisor.enter(command), check=True, capture_output=True, text=True).stdout.strip()


def virsh(hypervisor: PrivateLibvirt, *command: str) -> str:
    return run(hypervisor, "virsh", "--connect", "qemu:///system", *command)


def define(hypervisor: PrivateLibvirt, kind: str, description: str) -> None:
    file = hypervisor.instance / f"{kind}define.xml"
    file.write_text(description)
    virsh(hypervisor, f"{kind}define", str(file))
