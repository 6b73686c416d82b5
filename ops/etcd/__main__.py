"""Copies a snapshot of etcd to this machine, or lists all snapshots; see the package for the JSON documents.

Exit code: 0 if it is done, 1 if a control plane did not answer or gave no snapshot, 2 if the stack could not be read.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from host.access.ssh import Login
from host.workspace import Workspace
from lab.node.paths import PROGRAMS
from lab.spec import Role
from ops.clients import NOT_FOUND, CommandError, Commands, logins, read_outputs
from ops.command_line import OK, PROBLEM, parse, parser, report_error
from system.errors import HardwayError
from system.files import CHECKOUT
from system.tables import plain_table
from toolchain.etcd_snapshot import IncompleteError, receiving

PROGRAM = f"{PROGRAMS}/etcd-snapshot"


def main(arguments: Sequence[str] | None = None, commands: Commands | None = None, checkout: Path = CHECKOUT) -> int:
    """Take or list snapshots and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Reads the stack and the nodes.
        checkout: Folder of the stack files.
    """
    options_parser = parser(
        "etcd",
        "Copies a verified snapshot of etcd to this machine, or lists the snapshots here and on the control planes.",
        "Exit code: 0 done, 1 a control plane did not answer or gave no snapshot, 2 the stack could not be read.",
    )
    options_parser.add_argument("action", choices=("snapshot", "list"))
    options_parser.add_argument("--output", type=Path, metavar="FILE", help="file for the snapshot")
    options = parse(options_parser, arguments)
    if options.output and options.action != "snapshot":
        options_parser.error("--output is for snapshot")
    commands = commands or Commands()
    try:
        outputs = read_outputs(commands, options.stack)
        reachable = logins(outputs)
    except HardwayError as error:
        return report_error(f"the stack could not be read: {error}")
    members = {name: reachable[name] for name, node in outputs.nodes.items() if node.role == Role.CONTROL_PLANE}
    if not members:
        return report_error("the lab has no control plane, so it has no etcd")
    folder = Workspace(checkout).etcd_snapshots(options.stack.rpartition("/")[2])
    if options.action == "list":
        return _list(options.stack, members, folder, commands, as_json=options.json)
    return _snapshot(options.stack, members, options.output, folder, commands, as_json=options.json)


def _snapshot(
    stack: str, members: Mapping[str, Login], output: Path | None, folder: Path, commands: Commands, *, as_json: bool
) -> int:
    """Get a snapshot from the first control plane that gives one.

    Args:
        stack: Name of the stack.
        members: Control planes.
        output: File for the snapshot; None for a new one in the folder, named after its time and its node.
        folder: Folder of the stack's snapshots.
        commands: Reads the nodes.
        as_json: Print a JSON document.
    """
    for name, login in members.items():
        file = output or folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{name}.db"
        try:
            with receiving(file) as content:
                commands.receive(login, [PROGRAM, "send"], content)
        except (CommandError, IncompleteError) as error:
            print(f"hardway: {name} gave no snapshot: {_explained(error)}", file=sys.stderr, flush=True)
            continue
        except OSError as error:
            return report_error(f"{file} cannot be written: {error.strerror}")
        print(json.dumps({"stack": stack, "node": name, "file": str(file)}) if as_json else file)
        return OK
    return PROBLEM


def _list(stack: str, members: Mapping[str, Login], folder: Path, commands: Commands, *, as_json: bool) -> int:
    rows: list[dict[str, Any]] = [
        {"node": None, "name": file.name, "bytes": file.stat().st_size}
        for file in sorted(folder.glob("*.db"), reverse=True)
    ]
    problems = []
    for node, login in members.items():
        try:
            lines = commands.run(login, [PROGRAM, "list"]).splitlines()
        except CommandError as error:
            problems.append({"node": node, "problem": _explained(error)})
            continue
        rows += [{"node": node, "name": name, "bytes": int(size)} for name, size in map(str.split, lines)]
    if as_json:
        print(json.dumps({"stack": stack, "snapshots": rows, "problems": problems}, indent=2))
    else:
        cells = [(row["node"] or str(folder), row["name"], f"{row['bytes'] / 2**20:.1f} MiB") for row in rows]
        print(plain_table(("PLACE", "SNAPSHOT", "SIZE"), cells) if cells else "There is no snapshot yet.")
        for each in problems:
            print(f"hardway: {each['node']} did not answer: {each['problem']}", file=sys.stderr, flush=True)
    return PROBLEM if problems else OK


def _explained(error: CommandError | IncompleteError) -> str:
    is_missing = isinstance(error, CommandError) and error.exit_code == NOT_FOUND
    return "it was set up by an older version; run `hardway up` first" if is_missing else str(error)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
