"""The developer's command: `python3 -m dev --help`.

It prepares the machine first, so it runs before the virtual environment exists and uses the standard library only.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from dev import checks
from host.prepare import prepare_tools
from host.workspace import Workspace
from system.errors import exit_code_of
from system.files import CHECKOUT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name. The default is that of this process.

    Returns:
        The exit code.
    """
    options = _parser().parse_args(arguments)
    started = time.monotonic()
    if options.command == "test":
        checks.ensure_allowed(options.names)
    workspace = Workspace(CHECKOUT)
    tools = prepare_tools(workspace, pulumi_home=workspace.pulumi_home, development=True)
    match options.command:
        case "test":
            deadline = started + 60 * options.minutes if options.minutes else None
            succeeded = checks.run(workspace, tools, options.names, thorough=options.thorough, deadline=deadline)
            return 0 if succeeded else 1
        case "reference":
            command = ["-m", "dev.reference", *(["--check"] if options.check else [])]
        case _:
            command = options.arguments
    return checks.python(workspace, tools, command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m dev", description="Check, test and measure Hardway.")
    commands = parser.add_subparsers(dest="command", required=True)
    test = commands.add_parser("test", help="prepare the machine, then run checks and tests")
    test.add_argument("names", nargs="*", choices=(*checks.NAMES, []), help="the checks to run (default: all)")
    test.add_argument("--thorough", action="store_true", help="run every stage and stack, and draw more random cases")
    test.add_argument("--minutes", type=float, help="begin only as many drawn stages and stacks as end in this time")
    run = commands.add_parser("run", help="prepare the machine, then run Python in the environment of the tests")
    run.add_argument("arguments", nargs="+", help="the arguments of Python, after --: -- -m dev.bench")
    reference = commands.add_parser("reference", help="write the generated parts of the documentation")
    reference.add_argument("--check", action="store_true", help="change nothing; fail if a part is out of date")
    return parser


def run() -> int:
    """Run the command of this process, and report problems without a traceback."""
    return exit_code_of(main)


if __name__ == "__main__":
    sys.exit(run())
