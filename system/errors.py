"""Errors that are meant for people: each message says what is wrong, where, and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable


class HardwayError(Exception):
    """A problem that a person can solve. Commands print its message without a traceback."""


class HostError(HardwayError):
    """This machine cannot run the lab as it is."""


class ToolchainError(HardwayError):
    """A program, image or plugin can neither be downloaded nor built."""


def exit_code_of(main: Callable[[], int], program: str = "hardway", *, interrupted: str = "") -> int:
    """Run a program, and print its problem without a traceback.

    Args:
        main: The program. It returns its exit code.
        program: Name at the start of a message.
        interrupted: Message after an interruption; empty for none.

    Returns:
        The exit code: that of the program, 1 after a problem, 130 after an interruption.
    """
    try:
        return main()
    except HardwayError as error:
        message = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"{error.filename}: {reason}" if error.filename else reason
    except KeyboardInterrupt:
        if interrupted:
            print(f"{program}: {interrupted}", file=sys.stderr)
        return 130
    print(f"{program}: {message}", file=sys.stderr)
    return 1
