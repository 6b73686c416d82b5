"""Makes the machine ready, step by step; each is instant where nothing is to do."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from host import workspace
from host.engine import stack_file
from host.engine.stack import carriers, deployed
from host.libvirt.placement import Carrier, carrier
from host.libvirt.private import URI, system_libvirt_answers
from host.machine import kvm, packages, virtualenv
from host.workspace import Layout
from lab.versions import default_kubernetes_version
from system.console import step
from system.errors import HostError
from system.files import CHECKOUT
from toolchain import binaries, engine, vm_image
from toolchain.cache import default_folder
from toolchain.packages import required_packages
from toolchain.store import Workshop


@dataclass(frozen=True)
class Tools:
    """What the machine has once it is prepared.

    bin:            the folder with pulumi and the language host.
    pulumi_home:    where the plugins are installed.
    kubectl:        the program.
    virtualization: kvm where KVM serves, else qemu; empty where no VM is to run here.
    """

    bin: Path
    pulumi_home: Path
    kubectl: Path
    virtualization: str


def prepare_tools(layout: Layout, *, pulumi_home: Path, development: bool = False, stack: str | None = None) -> Tools:
    """Installs packages, toolchain and Python environment.

    development: whether also what the tests need. stack: the one that it is for; without, one whose VMs run here.
    """
    with _alone(layout):
        release, systemd = packages.debian_release(), packages.has_systemd()
        with step("Python environment"):
            packages.install(packages.wanted(packages.PROGRAM, release, systemd))
            virtualenv.ensure(layout.venv, layout.checkout / "requirements.txt")
            if development:
                virtualenv.ensure(layout.development_venv, layout.checkout / "requirements-dev.txt")
        carried = carrier(layout, stack) if stack else Carrier.THIS_MACHINE
        with step("Debian packages"):
            wanted = [*packages.LAB, *(packages.TESTS if development else ())]
            if carried is not Carrier.NONE:
                wanted += packages.VM
            if carried is Carrier.THIS_MACHINE:
                wanted += packages.HYPERVISOR
            toolchain = required_packages(vms=carried is not Carrier.NONE)
            packages.install(packages.wanted(wanted, release, systemd) | toolchain)
        with step("Engine and plugins"):
            workshop = Workshop(install=packages.install)
            programs = engine.install(pulumi_home, workshop)
        with step("Node binaries"):
            found = binaries.ensure(binaries.programs_of_a_lab(default_kubernetes_version()), workshop)
        virtualization = ""
        if carried is not Carrier.NONE:
            with step("VM image"):
                image = vm_image.ensure_vm_image(vm_image.seed_of())
        if carried is Carrier.THIS_MACHINE:
            with step("Virtualization"):
                serves = image.kernel is not None and kvm.serves(image.kernel, default_folder(), _becoming_root())
                print("    KVM serves" if serves else "    KVM does not serve: VMs are emulated")
                virtualization = "kvm" if serves else "qemu"
    kubectl = found["kubectl", default_kubernetes_version()].path
    return Tools(programs, pulumi_home, kubectl, virtualization)


def prepare(layout: Layout, stack: str) -> None:
    """Makes the machine ready for `stack`: the tools, the hypervisor where its VMs run here, and the environment."""
    pulumi_home = workspace.pulumi_home(layout)
    tools = prepare_tools(layout, pulumi_home=pulumi_home, stack=stack)
    with _alone(layout):
        private = False
        if tools.virtualization:
            with step("Hypervisor"):
                private = _is_private(layout)
                if private:
                    _as_root("start", layout.hypervisor, "--kvm" if tools.virtualization == "kvm" else "--no-kvm")
                print(f"    a private one in {layout.hypervisor}" if private else "    the system's libvirtd")
        with step("Environment"):
            commands = {"pulumi": tools.bin / "pulumi", "kubectl": tools.kubectl}
            virsh = workspace.program("virsh")
            if virsh is not None:
                commands["virsh"] = virsh
            text = workspace.render(layout, stack, tools.virtualization)
            if not layout.passphrase.exists() and workspace.uses_own_passphrase(layout, text):
                stack_file.forget_salts(layout.checkout)
            workspace.write(layout, text, commands, private)
            stack_file.set_up_filter(layout.checkout)


def clean(layout: Layout) -> None:
    """Removes all that was made of the checkout on this machine, the private hypervisor and its VMs included.

    Raises HostError where a stack would be left without its state, in the system's libvirtd or that of another machine,
    or on machines that were there before; and where a state would be left without its stack, in a backend elsewhere.
    """
    goes = layout.hypervisor.exists() and workspace.keeps_state(layout)
    going = {URI} if goes else set()
    for stack in deployed(layout) if layout.env.exists() else []:
        if staying := carriers(layout, stack) - going:
            raise HostError(
                f"Stack {stack} is still there, on {' and '.join(sorted(staying))}. Take it down first: "
                f"make destroy STACK={stack}"
            )
    if layout.hypervisor.exists():
        _as_root("purge", layout.hypervisor)
    if layout.lab.exists():
        shutil.rmtree(layout.lab)


def _is_private(layout: Layout) -> bool:
    """Whether the checkout has or gets a private hypervisor: where the system's libvirtd doesn't answer this user.

    It stays with the one that it has, as what a stack has there can be reached in no other. Raises HostError where that
    is the system's, and it doesn't answer.
    """
    if layout.hypervisor.exists():
        return True
    if system_libvirt_answers():
        return False
    if packages.has_systemd():
        for stack in deployed(layout) if layout.env.exists() else []:
            if URI in carriers(layout, stack):
                raise HostError(
                    f"Stack {stack} is in the system's libvirtd, which does not answer you. Start it, or become a "
                    "member of the group libvirt and log in again."
                )
        print(
            "    (the system's libvirtd does not answer you: is it running, and are you in the group libvirt? "
            "To use it after all: make destroy, then make clean)"
        )
    return True


def _becoming_root() -> list[str]:
    """What to put before a command to run it as root; nothing where there is no way."""
    with contextlib.suppress(HostError):
        return packages.as_root()
    return []


def _as_root(action: str, instance: Path, *options: str) -> None:
    """Runs `python3 -m hardway hypervisor`, which only root can."""
    command = [*packages.as_root(), sys.executable, "-m", "hardway", "hypervisor", action, str(instance), *options]
    result = subprocess.run(command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, check=False)
    if result.returncode != 0:
        raise HostError(
            f"The private hypervisor in {instance} could not be told to {action}; see above for the reason."
        )


@contextlib.contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    """Lets one preparation of the checkout run at a time; a second one waits and then finds everything done.

    Raises HostError where the lab is another user's.
    """
    try:
        layout.lab.mkdir(exist_ok=True)
        lock = (layout.lab / "lock").open("a")
    except PermissionError as error:
        raise HostError(
            f"{error.filename} may not be written: an earlier run was another user's, as by sudo. Go on as that user, "
            "or have that user take it away: make destroy, then make clean."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another run that prepares this checkout.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
