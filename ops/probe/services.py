"""The services of a node that started during a measurement, as systemd reports them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from host.access.ssh import Login
from ops.clients import Commands
from ops.status.node import CONNECT

TIMEOUT = 60
"""Seconds for a node."""

BOOT = "the machine"
"""The name of a restart of the whole node, beside those of its services."""

UNKNOWN_SERVICES = "the services of "
"""The beginning of the note about a node that did not answer at the end. Its name follows."""


@dataclass(frozen=True, kw_only=True)
class ServiceStart:
    """A start of a service during the measurement.

    Attributes:
        node: The node.
        service: The service, or BOOT.
        at: Time in seconds since the start of the measurement.
    """

    node: str
    service: str
    at: float


def ages(commands: Commands, login: Login, services: Sequence[str]) -> dict[str, float]:
    """Return the seconds since each service of a node became active, and since the node booted.

    Raises:
        CommandError: The node does not answer.
    """
    properties = ("--property=Id", "--property=ActiveEnterTimestampMonotonic")
    show = ("systemctl", "show", *properties, "--", *(f"{name}.service" for name in services))
    return parse_ages(commands.run(login, ["cat", "/proc/uptime;", *show], timeout=TIMEOUT, options=CONNECT))


def parse_ages(text: str) -> dict[str, float]:
    """Return the ages from the uptime of a node and the properties of its units. A unit that never started has none."""
    uptime, *lines = text.splitlines()
    up = float(uptime.split()[0])
    found, name = {BOOT: up}, ""
    for line in lines:
        key, _, value = line.partition("=")
        if key == "Id":
            name = value.removesuffix(".service")
        # Microseconds since boot: unlike a date, they need no time zone and no correct clock.
        elif key == "ActiveEnterTimestampMonotonic" and int(value):
            found[name] = up - int(value) / 1e6
    return found


def starts(node: str, service_ages: Mapping[str, float], asked: float) -> list[ServiceStart]:
    """Return the services that are younger than the measurement.

    Args:
        node: The node.
        service_ages: Seconds since each service became active.
        asked: Time of the question for them, in seconds since the start of the measurement.
    """
    return [ServiceStart(node=node, service=name, at=asked - age) for name, age in service_ages.items() if age < asked]
