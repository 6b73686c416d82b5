"""Run the command line: `python3 -m hardway`, or `.lab/bin/hardway` after the first `up`.

Standard library only, because it runs before the virtual environment exists.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hardway import commands
from hardway.arguments import HELP, parse
from system.console import Verbosity, set_verbosity
from system.errors import exit_code_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after the program's name. Default: those of this process.

    Returns:
        The exit code.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not words:
        print(HELP, end="")
        return 0
    options = parse(words)
    if options.verbosity is not Verbosity.NORMAL:
        set_verbosity(options.verbosity)
    return commands.COMMANDS[options.command](options)


def run() -> int:
    """Run the command of this process, and report problems without a traceback."""
    return exit_code_of(main)


if __name__ == "__main__":
    sys.exit(run())
