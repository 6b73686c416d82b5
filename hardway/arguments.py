"""The command line: its help text and its parser."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from host.workspace import short_stack_name
from lab.disruption import LEVELS
from system.console import Verbosity
from system.errors import HardwayError

HELP = """\
usage: hardway COMMAND [OPTIONS]

Run a Kubernetes lab on this machine. Before the first `up`, run `python3 -m hardway` instead.

The lab:
  up [--smoke]        prepare this machine, create or update the lab, show its nodes
  preview             show what `up` would change
  up --renew [NODE…]  also renew certificates, of all nodes or the named ones; also for `preview`
  confirm             keep the changes that confirmWithin would undo; `up` does it, too
  rollback            return to the configuration of the last successful update
  destroy             delete everything that the stack created
  stop                shut the VMs off and keep their memory
  start               continue where the lab was stopped; `up` does it, too
  snapshot NAME       keep the whole lab, disks and memory; --delete deletes it
  snapshots           list the snapshots
  revert NAME         return to a snapshot
  fork NAME [DIR]     create a second lab from a snapshot, with its own checkout and network
  rehearse            try the changed stack file in a fork, and compare the impact with the preview
  status              show nodes, services, certificates, etcd and VMs
  verify              compare every node with the stack
  smoke               try pods, Services, names and logs on every node
  probe [-- COMMAND]  measure how the cluster stays available while COMMAND runs
  etcd snapshot|list  copy a snapshot of etcd to this machine, or list all

Look inside:
  explain NODE …      show which files, keys and defaults make up its services or a field
  render [NODE] DIR   write the files of the nodes into a folder; needs no running lab
  access              write kubeconfig and SSH configuration again; --user NAME: a user's kubeconfig

This machine:
  prepare             install packages and programs, write .lab/env
  prune               delete what the download cache has not used for 30 days
  clean               delete .lab: state, private libvirt with its VMs, environment

Options, the same for every command:
  --stack NAME        the stack (default: dev)
  --json              JSON of preview, status, verify, smoke, probe, rehearse, etcd, explain, render
  --quiet, --verbose  print only results and problems, or more about each step
  --help              show this text; after a command, its own options
"""

DEFAULT_STACK = "dev"

_EPILOGS = {
    "up": "With a limit (--max-disruption, or maxDisruption of the stack), `up` runs a preview first. Exit code: 3 "
    "if the change needs more than the limit. Nothing is changed then.",
    "preview": "--json and --markdown print the disruption of each node and service. LEVEL is none, reload, restart, "
    "drain, reboot or recreate. Exit code: 0 if the limit allows the change or there is none, 2 if the impact "
    "cannot be read, 3 if the change needs more than the limit.",
    "status": "Exit code: 0 if all is well, 1 if something is not or the lab is stopped, 2 if it could not be checked.",
    "verify": "Exit code: 0 if nothing differs, 1 if something does, 2 if not everything could be checked.",
    "smoke": "Exit code: 0 if all is well, 1 if something failed, 2 if it could not be tried.",
    "probe": "Without COMMAND: measure until Ctrl-C, or for --seconds N. --picture FILE draws the whole time as SVG. "
    "--max-failures N and --max-gap SECONDS limit the failed requests and the longest gap of each target. --rate N "
    "sets the requests to a target in a second, --timeout SECONDS the time for an answer. Exit code: 0 if COMMAND "
    "succeeded, otherwise its own, 1 if a target was less available than allowed, 2 if the cluster could not be "
    "measured.",
    "rehearse": "Without options: take a snapshot of the lab, fork it, apply the stack file of this checkout there "
    "while the probe measures, and delete the fork and the snapshot. --snapshot NAME forks that one, --config FILE is "
    "another stack file, --picture FILE draws the measurement as SVG, --keep keeps fork and snapshot. Exit code: 0 if "
    "`up` succeeded with the predicted impact, 1 if not, 2 if it could not be rehearsed.",
    "etcd": "Without --output: write the snapshot into .lab/stacks/STACK/etcd. Exit code: 0 if it is done, 1 if a "
    "control plane did not answer or gave no snapshot, 2 if the stack could not be read.",
    "explain": "Without SERVICE: list the services of the node. Without FIELD: explain every line of the service's "
    "files. FIELD is a field or flag, such as maxPods or node-ip. Exit code: 0 if it is explained, 1 if no file of the "
    "service has the field, 2 if there is no such stack, node or service.",
    "render": "Without NODE: write the files of all nodes. DIR is a new or empty folder, or one that `render` wrote "
    "before. Exit code: 0 if the files are written, otherwise 2.",
}
FORWARDED = {
    "status": ("show nodes, services, certificates, etcd and VMs", "[--watch [SECONDS]]"),
    "verify": ("compare every node with the stack", "[--junit FILE]"),
    "smoke": ("try pods, Services, names and logs on every node; leaves nothing behind", "[--junit FILE]"),
    "probe": ("measure how the cluster stays available while COMMAND runs", "[-- COMMAND ARG…]"),
    "rehearse": (
        "apply a change to a fork of the lab, and compare the predicted impact with the measured one",
        "[--snapshot NAME] [--config FILE] [--picture FILE] [--keep]",
    ),
    "etcd": (
        "copy a verified snapshot of etcd to this machine, or list all snapshots",
        "snapshot|list [--output FILE]",
    ),
    "explain": ("show which files, keys and defaults make up a service", "NODE [SERVICE [FIELD]]"),
    "render": ("write the files of the nodes into a folder; needs no running lab", "[NODE] DIR"),
}
"""Commands that a program of `ops` runs: description and arguments. It gets all words that are not common options."""
WITH_JSON = ("preview", *FORWARDED)


class _Parser(argparse.ArgumentParser):
    """A parser with the help text above. An unknown command gets a suggestion instead of a list of all commands."""

    def error(self, message: str) -> NoReturn:
        if unknown := re.search(r"argument COMMAND: invalid choice: '([^']*)'", message):
            name = unknown[1]
            similar = difflib.get_close_matches(name, re.findall(r"^  ([a-z]+)", HELP, re.MULTILINE), n=1)
            hint = f"did you mean {similar[0]}?" if similar else "`hardway --help` lists the commands"
            message = f"there is no command {name}; {hint}"
        super().error(message)

    def format_help(self) -> str:
        return HELP

    def format_usage(self) -> str:
        return "usage: hardway COMMAND [OPTIONS]\n"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parse the words of a command line. Common options may be before or after the command.

    Returns:
        The options of the command, and `command`, `stack` (short name), `json`, `verbosity`, and `extra`: the words for
        the program of `ops`.
    """
    parser = _parser()
    # Words after `--` belong to the command that `probe` runs, even if they look like our options.
    own = list(words[: words.index("--")]) if "--" in words else list(words)
    options, extra = parser.parse_known_args(own)
    extra += words[len(own) :]
    if extra and options.command not in FORWARDED:
        parser.error(f"unrecognized arguments: {' '.join(extra)}")
    options.extra = extra
    options.json = getattr(options, "json", False)
    if options.json and options.command not in WITH_JSON:
        parser.error(f"`{options.command}` has no JSON output; --json is for {', '.join(WITH_JSON)}")
    describes_user = options.command == "access" and (options.group, options.hours, options.output) != ([], None, None)
    if describes_user and options.user is None:
        parser.error("--group, --hours and --output are for the kubeconfig of a user; add --user NAME")
    if options.json and getattr(options, "markdown", False):
        parser.error("--json and --markdown exclude each other")
    quiet, verbose = getattr(options, "quiet", False), getattr(options, "verbose", False)
    if quiet and verbose:
        parser.error("--quiet and --verbose exclude each other")
    options.verbosity = Verbosity.QUIET if quiet else Verbosity.VERBOSE if verbose else Verbosity.NORMAL
    try:
        options.stack = short_stack_name(getattr(options, "stack", DEFAULT_STACK))
    except HardwayError as error:
        parser.error(str(error))
    return options


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    common.add_argument("--stack", metavar="NAME", help=f"the stack (default: {DEFAULT_STACK})")
    common.add_argument("--json", action="store_true", help="print the result as JSON")
    common.add_argument("--quiet", action="store_true", help="print only results and problems")
    common.add_argument("--verbose", action="store_true", help="print more about each step")
    parser = _Parser(prog="hardway", parents=[common], allow_abbrev=False)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )

    def add(name: str, description: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, parents=[common], description=description, allow_abbrev=False)

    up = add("up", "prepare this machine, create or update the lab, show its nodes")
    up.add_argument("--smoke", action="store_true", help="try the lab out afterwards, as `hardway smoke` does")
    preview = add("preview", "show what `up` would change")
    preview.add_argument("--markdown", action="store_true", help="print a summary for a pull request")
    for command in (up, preview):
        command.add_argument(
            "--max-disruption", choices=LEVELS, metavar="LEVEL", help="the limit, instead of maxDisruption"
        )
        command.add_argument(
            "--renew",
            nargs="*",
            metavar="NODE",
            help="also renew the certificates that the lab has signed, or only those that belong to these nodes",
        )
        command.epilog = _EPILOGS[command.prog.rpartition(" ")[2]]
    add("rollback", "return to the configuration of the last successful update; the stack file stays as it is")
    add("confirm", "keep the changes that nodes would undo because of hardway:confirmWithin; `up` does it, too")
    add("destroy", "delete everything that the stack created: VMs, network, volumes, files on existing machines")
    add("stop", "save the memory of all VMs on this machine's disk, and shut them off; all or none")
    add("start", "restore the memory of all VMs, and wait until clocks are right and nodes are Ready")
    snapshot = add("snapshot", "keep disks and memory of all VMs at one moment, and the state of the stack")
    snapshot.add_argument("--delete", action="store_true", help="delete the snapshot")
    revert = add("revert", "replace disks and memory of all VMs, and the state of the stack, by those of a snapshot")
    fork = add("fork", "create a second lab from a snapshot, with its own checkout and private libvirt")
    for command in (snapshot, revert, fork):
        command.add_argument("name", metavar="NAME", help="name of the snapshot")
    fork.add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="DIR",
        help="folder of the fork, which must not exist (default: beside this checkout, as CHECKOUT-NAME)",
    )
    add("snapshots", "list the snapshots of the lab")
    access = add("access", "write the kubeconfig and the SSH configuration again; `up` does it, too")
    access.add_argument("--user", metavar="NAME", help="write a kubeconfig for this user of the cluster instead")
    access.add_argument(
        "--group", action="append", default=[], help="a group of the user, to bind roles to; repeat it for more groups"
    )
    access.add_argument("--hours", type=int, metavar="N", help="hours for which it is valid (default: 8)")
    access.add_argument(
        "--output", type=Path, metavar="FILE", help="write this file (default: .lab/stacks/STACK/kubeconfig-NAME)"
    )
    add("prepare", "install packages and programs, write .lab/env")
    add("prune", "delete what the download cache has not used for 30 days")
    add("clean", "delete .lab: state, private libvirt with its VMs, environment")
    for name, (description, arguments) in FORWARDED.items():
        forwarded = add(name, description)
        forwarded.usage = " ".join(word for word in (f"hardway {name}", "[OPTIONS]", arguments) if word)
        forwarded.epilog = _EPILOGS.get(name)
        if name == "etcd":
            forwarded.add_argument("--output", metavar="FILE", type=Path, help="file for the snapshot")
        if name in ("verify", "smoke"):
            forwarded.add_argument("--junit", metavar="FILE", type=Path, help="also write the results as JUnit XML")
    _add_internal(add)
    return parser


def _add_internal(add: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add the commands that programs of the lab call. The help text does not list them."""
    recover = add("recover", "remove what a killed engine left behind; `pulumi` in .lab/bin runs it")
    recover.add_argument("checkout", type=Path, help="folder of Pulumi.yaml")
    recover.add_argument("pulumi", type=Path, help="the engine")
    recover.add_argument("--state-only", action="store_true", help="only repair the files of the state")
    recover.add_argument(
        "--shared", action="store_true", help="recover the stack in a backend that only the engine can read"
    )
    hypervisor = add("hypervisor", "start, stop or delete a private libvirt")
    hypervisor.add_argument("action", choices=("start", "stop", "purge"))
    hypervisor.add_argument("instance", type=Path, help="folder of the private libvirt")
    hypervisor.add_argument(
        "--kvm",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="show /dev/kvm to it or hide it (default: as in the last start)",
    )
