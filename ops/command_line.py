"""The command-line options and exit codes that all programs of this package share."""

import argparse
import sys

DEFAULT_STACK = "dev"

OK = 0
PROBLEM = 1
NOT_CHECKED = 2
"""Exit code of a program that could not do its work: no stack, no answer, or wrong arguments."""


def parser(program: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """Return a parser with the shared options.

    Args:
        program: Name of the module in `ops`, and of the command of `hardway` that runs it.
        description: The first paragraph of the help text.
        epilog: The last paragraph, which lists the exit codes.
    """
    result = argparse.ArgumentParser(prog=f"hardway {program}", description=description, epilog=epilog)
    result.add_argument("--stack", default=DEFAULT_STACK, help=f"the stack (default: {DEFAULT_STACK})")
    result.add_argument("--json", action="store_true", help="print a JSON document")
    amount = result.add_mutually_exclusive_group()
    amount.add_argument("--quiet", action="store_true", help="print only problems")
    amount.add_argument("--verbose", action="store_true", help="print more details")
    return result


def report_progress(text: str) -> None:
    """Print a line about the progress on standard error, because standard output is for results."""
    print(f"hardway: {text}", file=sys.stderr, flush=True)


def report_error(text: str) -> int:
    """Print an error and return the exit code of a program that could not do its work."""
    print(f"hardway: {text}", file=sys.stderr, flush=True)
    return NOT_CHECKED
