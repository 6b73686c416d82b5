"""The command line: `python3 -m hardway --help`. The Makefile's targets are these."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from host.engine import recovery
from host.engine.stack import Stack
from host.libvirt.private import PrivateLibvirt
from host.prepare import clean, prepare
from host.workspace import Workspace
from system.errors import HostError, ToolchainError
from system.files import CHECKOUT


def main() -> int:
    """Runs one command and returns the exit code."""
    arguments = _parser().parse_args()
    workspace = Workspace(CHECKOUT)
    match arguments.command:
        case "prepare":
            prepare(workspace, arguments.stack)
        case "up":
            prepare(workspace, arguments.stack)
            Stack(workspace, arguments.stack).up()
        case "preview":
            prepare(workspace, arguments.stack)
            Stack(workspace, arguments.stack).preview()
        case "access":
            Stack(workspace, arguments.stack).write_access()
        case "destroy":
            Stack(workspace, arguments.stack).destroy()
        case "settle":
            state = Workspace(arguments.checkout).state
            recovery.settle(arguments.checkout, state, arguments.pulumi, state_only=arguments.state_only)
        case "clean":
            clean(workspace)
        case "hypervisor":
            _hypervisor(arguments)
    return 0


def _hypervisor(arguments: argparse.Namespace) -> None:
    # Whoever calls the lab's commands has to find the holder, also where root keeps its own files to itself.
    os.umask(0o022)
    hypervisor = PrivateLibvirt(arguments.instance)
    match arguments.action:
        case "start":
            hypervisor.start(kvm=arguments.kvm)
        case "stop":
            hypervisor.stop()
        case "purge":
            hypervisor.purge()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m hardway", description="Prepares this machine for the lab and runs it."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("prepare", "install what is missing and write .lab/env"),
        ("up", "prepare, bring the stack up, show the nodes"),
        ("preview", "prepare, show what up would change"),
        ("access", "write kubeconfig and SSH configuration of a stack that is up"),
        ("destroy", "take down all that the stack made"),
    ):
        commands.add_parser(name, help=what).add_argument("--stack", default="dev", help="the stack (default: dev)")
    settle = commands.add_parser("settle", help="take away what a killed engine has left (pulumi of .lab/bin does it)")
    settle.add_argument("checkout", type=Path, help="where Pulumi.yaml is")
    settle.add_argument("pulumi", type=Path, help="the engine")
    settle.add_argument("--state-only", action="store_true", help="only make the state readable again")
    commands.add_parser("clean", help="remove .lab with all in it")
    hypervisor = commands.add_parser("hypervisor", help="the private hypervisor alone")
    hypervisor.add_argument("action", choices=("start", "stop", "purge"))
    hypervisor.add_argument("instance", type=Path, help="its folder")
    hypervisor.add_argument(
        "--kvm", action=argparse.BooleanOptionalAction, help="whether to show it /dev/kvm (default: as said last)"
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (HostError, ToolchainError) as error:
        sys.exit(f"hardway: {error}")
    except OSError as error:
        sys.exit(f"hardway: {error.filename}: {error.strerror}" if error.filename else f"hardway: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
