"""The command-line options and exit codes that all programs of this package share."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from system.console import Verbosity, set_verbosity

DEFAULT_STACK = "dev"

OK = 0
PROBLEM = 1
NOT_CHECKED = 2
"""Exit code of a program that could not do its work: no stack, no answer, or wrong arguments."""


def parser(program: str, description: str, epilog: str, *, has_json: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the shared options.

    Args:
        program: Name of the module in `ops`, and of the command of `hardway` that runs it.
        description: The first paragraph of the help text.
        epilog: The last paragraph, which lists the exit codes.
        has_json: False if the program prints no JSON document.
    """
    result = argparse.ArgumentParser(prog=f"hardway {program}", description=description, epilog=epilog)
    result.add_argument("--stack", default=DEFAULT_STACK, help=f"the stack (default: {DEFAULT_STACK})")
    if has_json:
        result.add_argument("--json", action="store_true", help="print a JSON document")
    amount = result.add_mutually_exclusive_group()
    amount.add_argument("--quiet", action="store_true", help="print only problems")
    amount.add_argument("--verbose", action="store_true", help="print more details")
    return result


def add_junit(options_parser: argparse.ArgumentParser) -> None:
    """Add the option that writes the results for a CI system."""
    options_parser.add_argument("--junit", type=Path, metavar="FILE", help="also write the results as JUnit XML")


def parse(options_parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line, and set the verbosity of this process.

    Args:
        options_parser: A result of `parser`.
        arguments: Command line. None for that of this process.
    """
    options = options_parser.parse_args(arguments)
    set_verbosity(Verbosity.QUIET if options.quiet else Verbosity.VERBOSE if options.verbose else Verbosity.NORMAL)
    return options


def report_error(text: str) -> int:
    """Print an error and return the exit code of a program that could not do its work."""
    print(f"hardway: {text}", file=sys.stderr, flush=True)
    return NOT_CHECKED
