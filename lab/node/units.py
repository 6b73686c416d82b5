"""systemd units: the templates in `assets/units`, filled in for one node."""

from collections.abc import Mapping
from functools import cache
from string import Template

from lab.node.paths import UNITS
from lab.spec import Flags
from system.files import CHECKOUT

ASSETS = CHECKOUT / "assets"
"""The folder of everything that is copied to a node unchanged."""


def unit_path(unit: str) -> str:
    """Return the path of a unit file on a node."""
    return f"{UNITS}/{unit}"


def unit(name: str, **values: str) -> str:
    """Return the text of a unit.

    Args:
        name: The file name of the template in `assets/units`.
        **values: The text for each `$placeholder` of the template.

    Raises:
        KeyError: The template has a placeholder without a value.
    """
    return Template(_template(name)).substitute(values)


def command(program: str, flags: Flags, variables: Mapping[str, str] | None = None) -> str:
    """Return the value of ExecStart, with one flag on each line, so that a diff shows exactly the changed flags.

    Args:
        program: The path of the program.
        flags: Flag to value. A flag with several values is repeated.
        variables: Flag to the name of the environment variable that holds its value.
    """
    arguments = [
        _quote(f"--{name}={value}")
        for name, values in flags.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    arguments += [f"--{name}=${{{variable}}}" for name, variable in (variables or {}).items()]
    return " \\\n  ".join([program, *arguments])


def environment_file(path: str) -> str:
    """Return the line of a unit that reads environment variables from a file."""
    return f"EnvironmentFile={path}\n"


def _quote(argument: str) -> str:
    """Quote an argument for systemd: systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"."""
    escaped = argument.replace("%", "%%").replace("$", "$$")
    if any(character in escaped for character in " \t\"'\\;"):
        return '"' + escaped.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return escaped


@cache
def _template(name: str) -> str:
    return (ASSETS / "units" / name).read_text()
