"""Shows the state of a running lab; see the package for the JSON document.

Exit code: 0 if all is well, 1 if there is a problem, 2 if the stack could not be read.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from host.engine import stopped
from host.workspace import Workspace
from ops.clients import Commands, read_outputs
from ops.command_line import parse, parser, report_error
from ops.stack_file import read_spec
from ops.status.probes import read_status
from ops.status.report import StatusReport, conclusion, heading, sections, stopped_report
from ops.tables import rich_table
from system.errors import HardwayError
from system.files import CHECKOUT
from system.tables import plain_table

INTERVAL = 5.0
"""Seconds between two reports of --watch."""


def main(
    arguments: Sequence[str] | None = None,
    commands: Commands | None = None,
    checkout: Path = CHECKOUT,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Show the state and return the exit code.

    Args:
        arguments: Command line. None for that of this process.
        commands: Reads the stack, the nodes, the API server and the VMs.
        checkout: Folder of the stack files and of `.lab`.
        sleep: Waits between two reports. KeyboardInterrupt ends the program with the exit code of the last report.
    """
    options_parser = parser(
        "status",
        "Shows nodes, services, certificates, etcd and VMs of a running lab, and parts that do not answer.",
        "Exit code: 0 all is well, 1 there is a problem, 2 the stack could not be read.",
    )
    options_parser.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=INTERVAL,
        metavar="SECONDS",
        help=f"refresh until interrupted (default: every {INTERVAL:g} seconds)",
    )
    options = parse(options_parser, arguments)
    commands = commands or Commands()

    def show() -> int:
        try:
            # Collecting the metrics takes CPU from the API server, which must not happen every few seconds.
            deprecated_apis = options.verbose and options.watch is None
            report = _read(options.stack, commands, checkout, deprecated_apis=deprecated_apis)
        except HardwayError as error:
            return report_error(f"the stack could not be read: {error}")
        if options.json:
            print(json.dumps(report.document(), indent=None if options.watch is not None else 2), flush=True)
        else:
            _print(report, quiet=options.quiet, verbose=options.verbose, clear=options.watch is not None)
        return report.exit_code

    code = show()
    try:
        while options.watch is not None:
            sleep(options.watch)
            code = show()
    except KeyboardInterrupt:
        pass
    return code


def _read(stack: str, commands: Commands, checkout: Path, *, deprecated_apis: bool) -> StatusReport:
    workspace, name, now = Workspace(checkout), stack.rpartition("/")[2], datetime.now(UTC)
    if record := stopped.read(workspace, name):
        return stopped_report(stack, str(record), now)
    outputs = read_outputs(commands, stack)
    spec = read_spec(stack, checkout, commands)
    kubeconfigs = workspace.user_kubeconfigs(name)
    return read_status(stack, outputs, spec, commands, now, kubeconfigs, deprecated_apis=deprecated_apis)


def _print(report: StatusReport, *, quiet: bool, verbose: bool, clear: bool) -> None:
    tables = [] if quiet else sections(report, verbose=verbose)
    end = conclusion(report, quiet=quiet)
    if sys.stdout.isatty():
        # Imported here, because only a terminal needs it.
        from rich.console import Console

        console = Console(highlight=False)
        if clear:
            console.clear()
        if not quiet:
            console.print(heading(report), style="bold", markup=False)
        for table in tables:
            console.print(rich_table(table.title, table.headings, table.rows, table.bad_rows))
        for line in end:
            console.print(line, markup=False, style="bold red" if line.startswith("PROBLEM") else None)
        return
    blocks = [] if quiet else [heading(report)]
    blocks += [f"{table.title}\n{plain_table(table.headings, table.rows)}" for table in tables]
    blocks += ["\n".join(end)] if end else []
    if blocks:
        print("\n\n".join(blocks), flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
