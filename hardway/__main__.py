"""Run the command line: `python3 -m hardway`, or `.lab/bin/hardway` after the first `up`.

Standard library only, because it runs before the virtual environment exists.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hardway import commands
from hardway.arguments import HELP, parse
from system.console import Verbosity, set_verbosity
from system.errors import HardwayError


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
    try:
        return main()
    except HardwayError as error:
        print(f"hardway: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        print(f"hardway: {text}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(run())
