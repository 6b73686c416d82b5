"""The commands. Each accepts the parsed options and returns the exit code."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from host import environment, prepare
from host import fork as forks
from host.access import access_files
from host.engine import recovery, stopped, suspension
from host.engine import snapshots as lab_snapshots
from host.engine.stack import Stack, deployed, deployment_of
from host.libvirt import undefined
from host.libvirt.private import PrivateLibvirt
from host.workspace import Workspace
from system import console
from system.errors import HostError
from system.files import CHECKOUT
from system.tables import plain_table

NOT_CHECKED = 2
"""Exit code of `status`, `verify`, `smoke`, `probe` and `access --user` if they could not do their work."""


def up(options: argparse.Namespace) -> int:
    """Prepare the machine and bring the stack up, if the limit allows it. With `--smoke`, also test it."""
    workspace = _workspace()
    has_limit = _has_limit(workspace, options)
    is_stopped = stopped.read(workspace, options.stack) is not None
    steps = console.Steps(prepare.STEPS + Stack.UP_STEPS + has_limit + is_stopped)
    prepare.prepare(workspace, options.stack, steps)
    stack = Stack(workspace, options.stack)
    if has_limit:
        with steps.step("Preview, because there is a limit"):
            stack.select()
            if code := _impact(workspace, stack, options):
                return code
    if is_stopped:
        with steps.step("Start of the stopped lab"):
            suspension.start_vms(workspace, options.stack)
            stack.wait_for_clocks()
    stack.up(steps, options.renew)
    if options.smoke:
        options.command = "smoke"
        return check(options)
    return 0


def preview(options: argparse.Namespace) -> int:
    """Prepare the machine and show what `up` would change: the engine's preview, or a document about its impact."""
    workspace = _workspace()
    prepare.prepare(workspace, options.stack)
    stack = Stack(workspace, options.stack)
    if options.json or options.markdown:
        stack.select()
        return _impact(workspace, stack, options)
    stack.preview(options.renew)
    return _impact(workspace, stack, options) if _has_limit(workspace, options) else 0


def destroy(options: argparse.Namespace) -> int:
    """Delete everything that the stack created, and its snapshots."""
    workspace = _workspace()
    stack = Stack(workspace, options.stack)
    _define_what_is_gone(workspace, options.stack)
    stack.destroy()
    lab_snapshots.delete_all(workspace, options.stack)
    access_files.remove(workspace, options.stack)
    return 0


def stop(options: argparse.Namespace) -> int:
    """Save the memory of all VMs, and shut them off."""
    suspension.stop(_workspace(), options.stack)
    return 0


def start(options: argparse.Namespace) -> int:
    """Start a stopped lab, and wait until its nodes are back."""
    suspension.start(_workspace(), options.stack)
    return 0


def snapshot(options: argparse.Namespace) -> int:
    """Take a snapshot of the lab, or delete one."""
    act = lab_snapshots.delete if options.delete else lab_snapshots.take
    act(_workspace(), options.stack, options.name)
    return 0


def revert(options: argparse.Namespace) -> int:
    """Return to a snapshot."""
    lab_snapshots.revert(_workspace(), options.stack, options.name)
    return 0


def fork(options: argparse.Namespace) -> int:
    """Create a second lab from a snapshot, in its own checkout."""
    forks.create(_workspace(), options.stack, options.name, options.folder)
    return 0


def snapshots(options: argparse.Namespace) -> int:
    """List the snapshots of the lab."""
    found = lab_snapshots.listed(_workspace(), options.stack)
    if not found:
        console.note(f"Stack {options.stack} has no snapshots.")
        return 0
    rows = [(each.name, each.time, f"{each.size / 2**30:.1f} GiB", ", ".join(each.vms)) for each in found]
    print(plain_table(("NAME", "TIME", "SIZE", "VMS"), rows))
    return 0


def rollback(options: argparse.Namespace) -> int:
    """Return to the configuration of the last successful update."""
    Stack(_workspace(), options.stack).roll_back()
    return 0


def confirm(options: argparse.Namespace) -> int:
    """Confirm the changes of the last update, so that the nodes keep them."""
    Stack(_workspace(), options.stack).confirm()
    return 0


def access(options: argparse.Namespace) -> int:
    """Write the kubeconfig and the SSH configuration of a stack that is up, or with `--user` a user's kubeconfig."""
    if options.user is None:
        Stack(_workspace(), options.stack).write_access()
        return 0
    options.extra = [f"--user={options.user}", *(f"--group={group}" for group in options.group)]
    if options.hours is not None:
        options.extra.append(f"--hours={options.hours}")
    if options.output is not None:
        # The program runs in another folder.
        options.extra.append(f"--output={options.output.absolute()}")
    return check(options)


def prepare_machine(options: argparse.Namespace) -> int:
    """Prepare the machine for the stack."""
    prepare.prepare(_workspace(), options.stack)
    return 0


def prune(_: argparse.Namespace) -> int:
    """Delete what the download cache has not used for a while."""
    from toolchain.__main__ import main

    return main(["prune"])


def clean(_: argparse.Namespace) -> int:
    """Delete everything that was created for this checkout."""
    prepare.clean(_workspace())
    return 0


def check(options: argparse.Namespace) -> int:
    """Replace this process by `ops.status`, `ops.verify`, `ops.smoke` or `ops.access` in the lab's environment.

    Prepares nothing. Exit code and signals are those of the program.
    """
    workspace = _workspace()
    if (variables := _lab_variables(workspace)) is None or _refuses_stopped(workspace, options):
        return NOT_CHECKED
    if junit := getattr(options, "junit", None):
        # The program runs in another folder.
        options.extra += ["--junit", str(junit.absolute())]
    os.chdir(workspace.checkout)
    return _replace([workspace.bin / "in-lab", workspace.venv / "bin/python", *_module(options)], variables)


def probe(options: argparse.Namespace) -> int:
    """Replace this process by `ops.probe`, which enters the lab's network only to measure.

    It stays in the current folder, because it runs the user's command.
    """
    workspace = _workspace()
    if (variables := _lab_variables(workspace)) is None or _refuses_stopped(workspace, options):
        return NOT_CHECKED
    return _replace([workspace.venv / "bin/python", *_module(options)], variables)


def etcd(options: argparse.Namespace) -> int:
    """Do the same for `ops.etcd`, for which a relative path is in the current folder."""
    if options.output:
        options.extra += ["--output", str(options.output.absolute())]
    return check(options)


def rehearse(options: argparse.Namespace) -> int:
    """Replace this process by `ops.rehearse`, which runs commands of this checkout and of the fork.

    It stays in the current folder, so that relative paths mean what the user typed.
    """
    workspace = _workspace()
    if (variables := _lab_variables(workspace)) is None:
        return NOT_CHECKED
    return _replace([workspace.venv / "bin/python", *_module(options)], variables)


def look(options: argparse.Namespace) -> int:
    """Replace this process by `ops.explain` or `ops.render`, which need the Python environment but no lab.

    The program stays in the current folder, so that relative paths mean what the user typed.
    """
    workspace = _workspace()
    prepare.ensure_python(workspace)
    # Encrypted values of a stack file need the engine and the passphrase, if there are any.
    variables = environment.evaluate(workspace.env.read_text()) if workspace.env.exists() else os.environ
    return _replace([workspace.venv / "bin/python", *_module(options)], variables)


def recover(options: argparse.Namespace) -> int:
    """Remove what a killed engine left behind."""
    if options.shared:
        backend = os.environ.get("PULUMI_BACKEND_URL", "")
        recovery.recover_shared(options.checkout, backend, options.pulumi, options.stack)
        return 0
    state = Workspace(options.checkout).state
    recovery.recover(options.checkout, state, options.pulumi, state_only=options.state_only)
    return 0


def hypervisor(options: argparse.Namespace) -> int:
    """Start, stop or delete a private libvirt."""
    # Every user who calls the lab's commands must find the holder, even if root's umask hides new files.
    os.umask(0o022)
    private = PrivateLibvirt(options.instance)
    match options.action:
        case "start":
            private.start(kvm=options.kvm)
        case "stop":
            private.stop()
        case "purge":
            private.purge()
    return 0


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "up": up,
    "preview": preview,
    "rollback": rollback,
    "confirm": confirm,
    "destroy": destroy,
    "stop": stop,
    "start": start,
    "snapshot": snapshot,
    "snapshots": snapshots,
    "revert": revert,
    "fork": fork,
    "status": check,
    "verify": check,
    "smoke": check,
    "probe": probe,
    "rehearse": rehearse,
    "etcd": etcd,
    "explain": look,
    "render": look,
    "access": access,
    "prepare": prepare_machine,
    "prune": prune,
    "clean": clean,
    "recover": recover,
    "hypervisor": hypervisor,
}
"""Each command of the command line and its function."""


def _workspace() -> Workspace:
    return Workspace(CHECKOUT)


def _define_what_is_gone(workspace: Workspace, stack: str) -> None:
    """Let the engine delete VMs and networks that somebody undefined.

    Raises:
        HostError: There is no such stack.
    """
    existing = deployed(workspace)
    if stack not in existing and not workspace.stack_file(stack).exists():
        raise HostError(
            f"Stack {stack} has no resources, and there is no file {workspace.stack_file(stack).name}. Stacks with "
            f"resources: {', '.join(sorted(existing)) or 'none'}."
        )
    virsh = workspace.bin / "virsh"
    if stack in existing and virsh.exists():
        for each in undefined.define_again(deployment_of(workspace, stack), virsh):
            console.note(f"{each} does not exist any more; it is defined without content, so that it can be deleted")


def _lab_variables(workspace: Workspace) -> dict[str, str] | None:
    """Return the lab's environment. None if this machine is not prepared, which has been printed."""
    if not workspace.env.exists():
        console.warn(f"hardway: {workspace.env} does not exist. Bring the lab up first: make up")
        return None
    return environment.evaluate(workspace.env.read_text())


def _refuses_stopped(workspace: Workspace, options: argparse.Namespace) -> bool:
    """Return True if the lab is stopped and the command needs it, which has been printed. `status` reports it."""
    record = stopped.read(workspace, options.stack)
    if record is None or options.command == "status":
        return False
    console.warn(f"hardway: {record}")
    return True


def _has_limit(workspace: Workspace, options: argparse.Namespace) -> bool:
    """Return True if a limit may be set. `ops.preview` reads its value, because only it has a parser of YAML."""
    if options.max_disruption:
        return True
    file = workspace.stack_file(options.stack)
    return file.exists() and "maxDisruption" in file.read_text(encoding="utf-8")


def _impact(workspace: Workspace, stack: Stack, options: argparse.Namespace) -> int:
    """Run `ops.preview` and return its exit code, which is not 0 if the change needs more than the limit."""
    limit = ["--max-disruption", options.max_disruption] if options.max_disruption else []
    markdown = ["--markdown"] if getattr(options, "markdown", False) else []
    words = [*_module(options, "preview"), *limit, *markdown, *stack.renewal(options.renew)]
    variables = environment.evaluate(workspace.env.read_text())
    command = [str(workspace.venv / "bin/python"), *words]
    console.detail(" ".join(command))
    return subprocess.run(command, cwd=workspace.checkout, env=_importing(variables), check=False).returncode


def _module(options: argparse.Namespace, program: str = "") -> list[str]:
    """Return Python's arguments for a program of `ops`. Default: the one with the name of the command."""
    common = ["--stack", options.stack, *(["--json"] if options.json else [])]
    if options.verbosity is not console.Verbosity.NORMAL:
        common.append(f"--{options.verbosity.value}")
    # -P: modules are those of the checkout (PYTHONPATH), not those of the current folder.
    return ["-P", "-m", f"ops.{program or options.command}", *common, *options.extra]


def _importing(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a program that imports the checkout's modules."""
    path = os.pathsep.join([str(CHECKOUT), *filter(None, [variables.get("PYTHONPATH")])])
    return {**variables, "PYTHONPATH": path}


def _replace(command: Sequence[str | Path], variables: Mapping[str, str]) -> int:
    """Replace this process by a program that imports the checkout's modules."""
    words = [str(word) for word in command]
    console.detail(" ".join(words))
    try:
        os.execve(words[0], words, _importing(variables))
    except OSError as error:
        raise HostError(f"{words[0]} cannot be run: {error.strerror}. Prepare this machine: make prepare") from None
