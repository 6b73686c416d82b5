"""systemd units: the texts in `assets/units`, with what differs from node to node filled in."""

from collections.abc import Mapping
from functools import cache
from string import Template

from system.files import CHECKOUT

ASSETS = CHECKOUT / "assets"
UNIT_FOLDER = "/etc/systemd/system"


def unit_path(unit: str) -> str:
    """Where a unit file stands on a node."""
    return f"{UNIT_FOLDER}/{unit}"


def unit(name: str, **values: str) -> str:
    """The text of a unit in `assets/units`, `$name` replaced by the value of that name.

    Raises KeyError where the unit asks for a value that is not given.
    """
    return Template(_text(name)).substitute(values)


def command(program: str, flags: Mapping[str, str], variables: Mapping[str, str] | None = None) -> str:
    """A program and its flags as ExecStart has them: a flag a line, so that a change shows as one line.

    variables: flags whose value is that of an environment variable, by the variable's name.
    """
    arguments = [_argument(f"--{name}={value}") for name, value in flags.items()]
    arguments += [f"--{name}=${{{variable}}}" for name, variable in (variables or {}).items()]
    return " \\\n  ".join([program, *arguments])


def environment_file(path: str | None) -> str:
    """The line by which a unit reads environment variables from a file; nothing where there is no file."""
    return f"EnvironmentFile={path}\n" if path else ""


def _argument(text: str) -> str:
    """An argument as systemd reads it back (systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers")."""
    plain = text.replace("%", "%%").replace("$", "$$")
    if any(character in plain for character in " \t\"'\\;"):
        return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return plain


@cache
def _text(name: str) -> str:
    return (ASSETS / "units" / name).read_text()
