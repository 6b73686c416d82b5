"""The commands. Each accepts the parsed options and returns the exit code."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from host import environment, prepare
from host.engine import recovery
from host.engine.stack import Stack
from host.libvirt.private import PrivateLibvirt
from host.workspace import Workspace
from system import console
from system.errors import HostError
from system.files import CHECKOUT

NOT_CHECKED = 2
"""Exit code of `status`, `verify`, `smoke`, `probe` and `access --user` if they could not do their work."""


def up(options: argparse.Namespace) -> int:
    """Prepare the machine and bring the stack up. With `--smoke`, also test it."""
    workspace = _workspace()
    steps = console.Steps(prepare.STEPS + Stack.UP_STEPS)
    prepare.prepare(workspace, options.stack, steps)
    Stack(workspace, options.stack).up(steps)
    if options.smoke:
        options.command = "smoke"
        return check(options)
    return 0


def preview(options: argparse.Namespace) -> int:
    """Prepare the machine and show what `up` would change."""
    workspace = _workspace()
    prepare.prepare(workspace, options.stack)
    Stack(workspace, options.stack).preview()
    return 0


def destroy(options: argparse.Namespace) -> int:
    """Delete everything that the stack created."""
    Stack(_workspace(), options.stack).destroy()
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
    if (variables := _lab_variables(workspace)) is None:
        return NOT_CHECKED
    os.chdir(workspace.checkout)
    return _replace([workspace.bin / "in-lab", workspace.venv / "bin/python", *_module(options)], variables)


def probe(options: argparse.Namespace) -> int:
    """Replace this process by `ops.probe`, which enters the lab's network only to measure.

    It stays in the current folder, because it runs the user's command.
    """
    workspace = _workspace()
    if (variables := _lab_variables(workspace)) is None:
        return NOT_CHECKED
    return _replace([workspace.venv / "bin/python", *_module(options)], variables)


def etcd(options: argparse.Namespace) -> int:
    """Do the same for `ops.etcd`, for which a relative path is in the current folder."""
    if options.output:
        options.extra += ["--output", str(options.output.absolute())]
    return check(options)


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
    "destroy": destroy,
    "status": check,
    "verify": check,
    "smoke": check,
    "probe": probe,
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


def _lab_variables(workspace: Workspace) -> dict[str, str] | None:
    """Return the lab's environment. None if this machine is not prepared, which has been printed."""
    if not workspace.env.exists():
        console.warn(f"hardway: {workspace.env} does not exist. Bring the lab up first: make up")
        return None
    return environment.evaluate(workspace.env.read_text())


def _module(options: argparse.Namespace) -> list[str]:
    """Return Python's arguments for the program of `ops` that runs the command."""
    common = ["--stack", options.stack, *(["--json"] if options.json else [])]
    if options.verbosity is not console.Verbosity.NORMAL:
        common.append(f"--{options.verbosity.value}")
    # -P: modules are those of the checkout (PYTHONPATH), not those of the current folder.
    return ["-P", "-m", f"ops.{options.command}", *common, *options.extra]


def _replace(command: Sequence[str | Path], variables: Mapping[str, str]) -> int:
    """Replace this process by a program that imports the checkout's modules."""
    path = os.pathsep.join([str(CHECKOUT), *filter(None, [variables.get("PYTHONPATH")])])
    words = [str(word) for word in command]
    console.detail(" ".join(words))
    try:
        os.execve(words[0], words, {**variables, "PYTHONPATH": path})
    except OSError as error:
        raise HostError(f"{words[0]} cannot be run: {error.strerror}. Prepare this machine: make prepare") from None
