"""Prepare this machine, step by step. A step with nothing to do takes no time."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from host import environment
from host.engine import snapshots, stack_file
from host.engine.stack import deployed, locations
from host.libvirt.placement import VmPlacement, placement
from host.libvirt.private import URI, system_libvirt_answers
from host.machine import kvm, packages, virtualenv
from host.workspace import Workspace, command_line
from lab.versions import default_kubernetes_version
from system import console
from system.commands import as_root, run_visibly
from system.console import Steps
from system.errors import HostError
from system.files import CHECKOUT, locked
from toolchain import binaries, engine, vm_image
from toolchain.cache import default_folder
from toolchain.packages import required_packages
from toolchain.store import ArtifactStore

TOOL_STEPS = 6
"""Number of steps of `prepare_tools`."""
STEPS = TOOL_STEPS + 2
"""Number of steps of `prepare`."""
_NO_VMS = "no VM of the stack runs on this machine"


@dataclass(frozen=True)
class Tools:
    """The programs of a prepared machine.

    Attributes:
        bin: Folder of pulumi and the language host.
        pulumi_home: Folder where the plugins are installed.
        kubectl: The program.
        virtualization: `kvm` if KVM works, else `qemu`. Empty if no VM runs on this machine.
    """

    bin: Path
    pulumi_home: Path
    kubectl: Path
    virtualization: str


def prepare_tools(
    workspace: Workspace,
    *,
    pulumi_home: Path,
    development: bool = False,
    stack: str | None = None,
    steps: Steps | None = None,
) -> Tools:
    """Install packages, programs and the Python environment.

    Args:
        workspace: The checkout.
        pulumi_home: Folder where the plugins are installed.
        development: True to install the packages of the tests, too.
        stack: The stack to prepare for. Default: any stack whose VMs run on this machine.
        steps: The steps of the whole command. Default: only those of this function.

    Raises:
        HostError: This machine cannot be prepared.
        ToolchainError: A program can neither be downloaded nor built.
    """
    steps = steps or Steps(TOOL_STEPS)
    with _exclusive(workspace):
        release, systemd = packages.debian_release(), packages.has_systemd()
        with steps.step("Python environment"):
            packages.install(packages.needed(packages.PROGRAM, release, systemd))
            _install_python(workspace)
            if development:
                virtualenv.ensure(workspace.development_venv, workspace.checkout / "requirements-dev.txt")
        vms = placement(workspace, stack) if stack else VmPlacement.THIS_MACHINE
        with steps.step("Debian packages"):
            candidates = [*packages.LAB, *(packages.TESTS if development else ())]
            if vms is not VmPlacement.NONE:
                candidates += packages.VM
            if vms is VmPlacement.THIS_MACHINE:
                candidates += packages.HYPERVISOR
            toolchain = required_packages(vms=vms is not VmPlacement.NONE)
            packages.install(packages.needed(candidates, release, systemd) | toolchain)
        with steps.step("Engine and plugins"):
            store = ArtifactStore(install=packages.install)
            programs = engine.install(pulumi_home, store)
        with steps.step("Node binaries"):
            found = binaries.ensure(binaries.lab_programs(default_kubernetes_version()), store)
        virtualization = ""
        if vms is VmPlacement.NONE:
            steps.skip("VM image", "the stack has no VMs")
        else:
            with steps.step("VM image"):
                image = vm_image.ensure_vm_image(vm_image.store_files())
        if vms is VmPlacement.THIS_MACHINE:
            with steps.step("Virtualization"):
                works = image.kernel is not None and kvm.works(image.kernel, default_folder(), _sudo_if_possible())
                console.note("KVM works" if works else "KVM does not work here: VMs are emulated")
                virtualization = "kvm" if works else "qemu"
        else:
            steps.skip("Virtualization", _NO_VMS)
    kubectl = found["kubectl", default_kubernetes_version()].path
    return Tools(programs, pulumi_home, kubectl, virtualization)


def prepare(workspace: Workspace, stack: str, steps: Steps | None = None) -> None:
    """Prepare this machine for a stack: the tools, libvirt if the VMs run here, and `.lab/env`.

    Args:
        workspace: The checkout.
        stack: The stack.
        steps: The steps of the whole command. Default: only those of this function.

    Raises:
        HostError: This machine cannot be prepared.
        ToolchainError: A program can neither be downloaded nor built.
    """
    steps = steps or Steps(STEPS)
    pulumi_home = environment.pulumi_home(workspace)
    tools = prepare_tools(workspace, pulumi_home=pulumi_home, stack=stack, steps=steps)
    with _exclusive(workspace):
        private = False
        if tools.virtualization:
            with steps.step("libvirt"):
                private = _is_private(workspace)
                if private:
                    hypervisor("start", workspace.hypervisor, "--kvm" if tools.virtualization == "kvm" else "--no-kvm")
                console.note(f"a private one in {workspace.hypervisor}" if private else "the system's libvirtd")
        else:
            steps.skip("libvirt", _NO_VMS)
        with steps.step("Environment"):
            commands = {"pulumi": tools.bin / "pulumi", "kubectl": tools.kubectl}
            virsh = environment.program("virsh")
            if virsh is not None:
                commands["virsh"] = virsh
            is_new_backend = environment.record_backend(workspace)
            text = environment.render(workspace, stack, tools.virtualization)
            is_new_passphrase = not workspace.passphrase.exists() and environment.uses_own_passphrase(workspace, text)
            if is_new_backend or is_new_passphrase:
                stack_file.forget_salts(workspace.checkout)
            environment.write(workspace, text, commands, private)
            _describe_backend(workspace, text)
            stack_file.set_up_filter(workspace.checkout)


def ensure_python(workspace: Workspace) -> None:
    """Create the Python environment if it does not exist. It is all that programs without a lab need.

    Raises:
        HostError: It cannot be created.
    """
    if not (workspace.venv / "bin/python").exists():
        with console.step("Python environment"), _exclusive(workspace):
            _install_python(workspace)


def clean(workspace: Workspace) -> None:
    """Delete everything that was created for the checkout, including the private libvirt and its VMs.

    Raises:
        HostError: A stack would lose its state although its nodes stay: it is in the system's libvirtd, in that of
            another machine, or on existing machines. Or a state in a backend elsewhere would lose its VMs or the only
            copy of its passphrase.
    """
    vms = {URI} if workspace.hypervisor.exists() else set()
    for stack in deployed(workspace) if workspace.env.exists() else []:
        places, first = locations(workspace, stack), f"Delete it first: {command_line('destroy', stack)}"
        if remaining := places - vms if environment.keeps_state(workspace) else places & vms:
            raise HostError(f"Stack {stack} still exists, on {' and '.join(sorted(remaining))}. {first}")
        if not environment.keeps_state(workspace) and environment.uses_own_passphrase(
            workspace, workspace.env.read_text()
        ):
            raise HostError(
                f"Stack {stack} still exists, and its secrets are encrypted with {workspace.passphrase}. Save that "
                f"file elsewhere, and give it to `hardway prepare` (PULUMI_CONFIG_PASSPHRASE_FILE). Or: {first}"
            )
    if workspace.hypervisor.exists():
        hypervisor("purge", workspace.hypervisor)
    for folder in (workspace.lab / "stacks").glob("*"):
        snapshots.delete_all(workspace, folder.name)
    if workspace.lab.exists():
        shutil.rmtree(workspace.lab)


def _describe_backend(workspace: Workspace, text: str) -> None:
    """Print where the state is, and which passphrase other checkouts need, unless both are the checkout's own."""
    if url := environment.shared_backend(workspace):
        console.note(f"The state is in {environment.without_credentials(url)}.")
        if environment.uses_own_passphrase(workspace, text):
            console.note(
                f"No passphrase was given: {workspace.passphrase} encrypts the secrets there. Other checkouts need it."
            )


def _install_python(workspace: Workspace) -> None:
    virtualenv.ensure(workspace.venv, workspace.checkout / "requirements.txt")
    virtualenv.make_importable(workspace.venv)


def _is_private(workspace: Workspace) -> bool:
    """Return True if the checkout uses a private libvirt, because it has one or the system's libvirtd does not answer.

    The checkout stays with its choice, because resources in one libvirt cannot be reached through another.

    Raises:
        HostError: The checkout has a stack in the system's libvirtd, which does not answer.
    """
    if workspace.hypervisor.exists():
        return True
    if system_libvirt_answers():
        return False
    if packages.has_systemd():
        for stack in deployed(workspace) if workspace.env.exists() else []:
            if URI in locations(workspace, stack):
                raise HostError(
                    f"Stack {stack} is in the system's libvirtd, which does not answer you. Start it, or join the "
                    "group libvirt and log in again."
                )
        console.note(
            "The system's libvirtd does not answer you. Does it run, and are you in the group libvirt? To use it "
            "after all, run `.lab/bin/hardway destroy`, then `.lab/bin/hardway clean`."
        )
    return True


def _sudo_if_possible() -> list[str]:
    """Return the words to put before root's commands. Empty for root, and if there is no sudo."""
    with contextlib.suppress(HostError):
        return as_root(may_ask=True)
    return []


def hypervisor(action: str, instance: Path, *options: str) -> None:
    """Run `python3 -m hardway hypervisor` as root.

    Raises:
        HostError: It fails.
    """
    run_visibly(
        [*as_root(may_ask=True), sys.executable, "-m", "hardway", "hypervisor", action, instance, *options],
        failure=f"`hardway hypervisor {action} {instance}` failed; see above for the reason.",
        folder=CHECKOUT,
    )


@contextlib.contextmanager
def _exclusive(workspace: Workspace) -> Iterator[None]:
    """Let one preparation of the checkout run at a time. A second one waits and then finds everything done.

    Raises:
        HostError: The files belong to another user.
    """
    with contextlib.ExitStack() as stack:
        try:
            workspace.lab.mkdir(exist_ok=True)
            stack.enter_context(locked(workspace.lab / "lock", "Waiting for another run that prepares this checkout."))
        except PermissionError as error:
            raise HostError(
                f"{error.filename} is not writable: an earlier run was another user's, perhaps through sudo. Continue "
                "as that user, or have that user run `.lab/bin/hardway destroy`, then `.lab/bin/hardway clean`."
            ) from error
        yield
