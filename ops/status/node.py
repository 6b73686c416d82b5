"""The state of one node, as `node-state` in this folder prints it."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from host.access.ssh import Login
from lab.node.paths import NODE_ENVIRONMENT
from lab.node.units import ASSETS
from ops import clock
from ops.certificates import CertificateState, read_certificates
from ops.clients import CommandError, Commands
from ops.etcd.state import EtcdStatus
from system.clock import skew

PROGRAM = "".join(
    (
        NODE_ENVIRONMENT,
        (ASSETS / "node" / "manifest.sh").read_text(),
        Path(__file__).with_name("node-state").read_text(),
    )
)
"""The shell program that is sent to a node: `node-state` after the constants and the functions that it uses."""

TIMEOUT = 120
"""Seconds for a whole node: its health programs run one after the other, and several may use their 10 seconds."""

CONNECT = ("-oConnectTimeout=10", "-oConnectionAttempts=1")
"""Options of ssh_config(5): a silent node must not delay the others for long."""


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """The state of a service.

    Attributes:
        name: Name of the service.
        unit: Its unit, None for a service without one.
        active: The unit's state in systemd's words; None without a unit.
        since: Time when the unit became active.
        healthy: Result of its health program. None if that did not run, because the unit is not active.
        reason: Reason why it is not healthy.
    """

    name: str
    unit: str | None
    active: str | None
    since: datetime | None
    healthy: bool | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class EtcdMember:
    """A member in the member list of etcd.

    Attributes:
        id: Number of the member.
        name: Its name. Empty until it has started for the first time.
        peer_urls: URLs at which the other members reach it.
        learner: True if it has no vote yet.
    """

    id: int
    name: str
    peer_urls: tuple[str, ...]
    learner: bool

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "EtcdMember":
        """Return a member in the output of `etcdctl member list --write-out json`."""
        return cls(
            id=int(values["ID"]),
            name=str(values.get("name", "")),
            peer_urls=tuple(values.get("peerURLs") or ()),
            learner=bool(values.get("isLearner")),
        )


@dataclass(frozen=True, kw_only=True)
class EtcdAnswer:
    """The answer of a node's etcd member.

    Attributes:
        status: State of the member. None if it did not answer.
        members: Member list as this member knows it.
        failure: Reason why it did not answer. Empty if it did, or if `missing`.
        missing: Reason why the node cannot query the member. Empty if it can.
    """

    status: EtcdStatus | None = None
    members: tuple[EtcdMember, ...] = ()
    failure: str = ""
    missing: str = ""


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """The state of a node.

    Attributes:
        services: Services by name.
        certificates: All certificates in its files.
        unreadable: Paths whose certificates cannot be read.
        etcd: Answer of its etcd member. None if it has none.
        skew: Seconds by which its clock is at least ahead of this machine's; negative if it is behind.
        unconfirmed: Seconds until a service returns to the version before, by the name of the service.
    """

    services: Mapping[str, ServiceState]
    certificates: tuple[CertificateState, ...]
    unreadable: tuple[str, ...]
    etcd: EtcdAnswer | None
    skew: float = 0.0
    unconfirmed: Mapping[str, int] = field(default_factory=dict)


def read_node(commands: Commands, login: Login, now: datetime) -> NodeState:
    """Read the state of a node.

    Raises:
        CommandError: The node does not answer, or not completely.
    """
    sent_at = time.time()
    text = commands.run(login, ["bash", "-s"], stdin=PROGRAM, timeout=TIMEOUT, options=CONNECT)
    return parse(text, now, sent_at, time.time())


def parse(text: str, now: datetime, sent_at: float, received_at: float) -> NodeState:
    """Parse the output of `node-state`.

    Args:
        text: The output.
        now: Time of the output.
        sent_at: Time before the program was sent, in seconds since 1970.
        received_at: Time after its output, in seconds since 1970.

    Raises:
        CommandError: The output is cut off, or something else.
    """
    # Not splitlines(), which also splits at rare characters that a reason may contain.
    lines = text.removesuffix("\n").split("\n")
    if lines.pop() != "end":
        raise CommandError("its answer is cut off")
    services: dict[str, dict[str, Any]] = {}
    found: list[CertificateState] = []
    unreadable: list[str] = []
    times: list[float] = []
    unconfirmed: dict[str, int] = {}
    etcd: dict[str, Any] | None = None
    for line in lines:
        match line.split("\t"):
            case ["clock", seconds] if clock.is_time(seconds):
                times.append(float(seconds))
            case ["service", name, unit, active, seconds]:
                services.setdefault(name, {}).update(
                    unit=None if unit == "-" else unit,
                    active=active or None,
                    since=now - timedelta(seconds=int(seconds)) if seconds else None,
                )
            case ["health", name, result, reason]:
                services.setdefault(name, {}).update(healthy=result == "ok", reason=reason)
            case ["unconfirmed", name, seconds]:
                unconfirmed[name] = int(seconds)
            case ["certificate", name, path, pem]:
                try:
                    found += read_certificates(name, path, pem)
                except ValueError:
                    unreadable.append(path)
            case ["etcd", kind, value]:
                etcd = (etcd or {}) | _etcd(kind, value)
            case _:
                raise CommandError(f"its answer has an invalid line: {line[:80]!r}")
    return NodeState(
        services={name: ServiceState(name=name, **values) for name, values in services.items() if "unit" in values},
        certificates=tuple(found),
        unreadable=tuple(unreadable),
        etcd=None if etcd is None else EtcdAnswer(**etcd),
        skew=skew(times, sent_at, received_at),
        unconfirmed=unconfirmed,
    )


def _etcd(kind: str, value: str) -> dict[str, Any]:
    if kind == "failed":
        return {"failure": value or "etcdctl failed"}
    if kind == "missing":
        return {"missing": value}
    try:
        document = json.loads(value)
        if kind == "status":
            return {"status": EtcdStatus.from_dict(document[0]["Status"])}
        return {"members": tuple(map(EtcdMember.from_dict, document["members"]))}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {"failure": f"etcdctl printed no {kind} document"}
