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

from host import environment
from host.engine import stack_file
from host.engine.stack import carriers, deployed
from host.libvirt.placement import VmPlacement, placement
from host.libvirt.private import URI, system_libvirt_answers
from host.machine import kvm, packages, virtualenv
from host.workspace import Workspace
from lab.versions import default_kubernetes_version
from system.console import step
from system.errors import HostError
from system.files import CHECKOUT
from toolchain import binaries, engine, vm_image
from toolchain.cache import default_folder
from toolchain.packages import required_packages
from toolchain.store import ArtifactStore


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


def prepare_tools(
    workspace: Workspace, *, pulumi_home: Path, development: bool = False, stack: str | None = None
) -> Tools:
    """Installs packages, toolchain and Python environment.

    development: whether also what the tests need. stack: the one that it is for; without, one whose VMs run here.
    """
    with _alone(workspace):
        release, systemd = packages.debian_release(), packages.has_systemd()
        with step("Python environment"):
            packages.install(packages.wanted(packages.PROGRAM, release, systemd))
            virtualenv.ensure(workspace.venv, workspace.checkout / "requirements.txt")
            if development:
                virtualenv.ensure(workspace.development_venv, workspace.checkout / "requirements-dev.txt")
        carried = placement(workspace, stack) if stack else VmPlacement.THIS_MACHINE
        with step("Debian packages"):
            wanted = [*packages.LAB, *(packages.TESTS if development else ())]
            if carried is not VmPlacement.NONE:
                wanted += packages.VM
            if carried is VmPlacement.THIS_MACHINE:
                wanted += packages.HYPERVISOR
            toolchain = required_packages(vms=carried is not VmPlacement.NONE)
            packages.install(packages.wanted(wanted, release, systemd) | toolchain)
        with step("Engine and plugins"):
            store = ArtifactStore(install=packages.install)
            programs = engine.install(pulumi_home, store)
        with step("Node binaries"):
            found = binaries.ensure(binaries.lab_programs(default_kubernetes_version()), store)
        virtualization = ""
        if carried is not VmPlacement.NONE:
            with step("VM image"):
                image = vm_image.ensure_vm_image(vm_image.store_files())
        if carried is VmPlacement.THIS_MACHINE:
            with step("Virtualization"):
                serves = image.kernel is not None and kvm.serves(image.kernel, default_folder(), _becoming_root())
                print("    KVM serves" if serves else "    KVM does not serve: VMs are emulated")
                virtualization = "kvm" if serves else "qemu"
    kubectl = found["kubectl", default_kubernetes_version()].path
    return Tools(programs, pulumi_home, kubectl, virtualization)


def prepare(workspace: Workspace, stack: str) -> None:
    """Makes the machine ready for `stack`: the tools, the hypervisor where its VMs run here, and the environment."""
    pulumi_home = environment.pulumi_home(workspace)
    tools = prepare_tools(workspace, pulumi_home=pulumi_home, stack=stack)
    with _alone(workspace):
        private = False
        if tools.virtualization:
            with step("PrivateLibvirt"):
                private = _is_private(workspace)
                if private:
                    _as_root("start", workspace.hypervisor, "--kvm" if tools.virtualization == "kvm" else "--no-kvm")
                print(f"    a private one in {workspace.hypervisor}" if private else "    the system's libvirtd")
        with step("Environment"):
            commands = {"pulumi": tools.bin / "pulumi", "kubectl": tools.kubectl}
            virsh = environment.program("virsh")
            if virsh is not None:
                commands["virsh"] = virsh
            text = environment.render(workspace, stack, tools.virtualization)
            if not workspace.passphrase.exists() and environment.uses_own_passphrase(workspace, text):
                stack_file.forget_salts(workspace.checkout)
            environment.write(workspace, text, commands, private)
            stack_file.set_up_filter(workspace.checkout)


def clean(workspace: Workspace) -> None:
    """Removes all that was made of the checkout on this machine, the private hypervisor and its VMs included.

    Raises HostError where a stack would be left without its state, in the system's libvirtd or that of another machine,
    or on machines that were there before; and where a state would be left without its stack, in a backend elsewhere.
    """
    goes = workspace.hypervisor.exists() and environment.keeps_state(workspace)
    going = {URI} if goes else set()
    for stack in deployed(workspace) if workspace.env.exists() else []:
        if staying := carriers(workspace, stack) - going:
            raise HostError(
                f"Stack {stack} is still there, on {' and '.join(sorted(staying))}. Take it down first: "
                f"make destroy STACK={stack}"
            )
    if workspace.hypervisor.exists():
        _as_root("purge", workspace.hypervisor)
    if workspace.lab.exists():
        shutil.rmtree(workspace.lab)


def _is_private(workspace: Workspace) -> bool:
    """Whether the checkout has or gets a private hypervisor: where the system's libvirtd doesn't answer this user.

    It stays with the one that it has, as what a stack has there can be reached in no other. Raises HostError where that
    is the system's, and it doesn't answer.
    """
    if workspace.hypervisor.exists():
        return True
    if system_libvirt_answers():
        return False
    if packages.has_systemd():
        for stack in deployed(workspace) if workspace.env.exists() else []:
            if URI in carriers(workspace, stack):
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
def _alone(workspace: Workspace) -> Iterator[None]:
    """Lets one preparation of the checkout run at a time; a second one waits and then finds everything done.

    Raises HostError where the lab is another user's.
    """
    try:
        workspace.lab.mkdir(exist_ok=True)
        lock = (workspace.lab / "lock").open("a")
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
