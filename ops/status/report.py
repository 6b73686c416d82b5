"""The state of a lab: nodes, services, certificates, etcd and the problems among them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lab.upgrade import ApiServerVersion
from ops.certificates import SECONDS_PER_DAY
from ops.command_line import OK, PROBLEM


@dataclass(frozen=True, order=True)
class StatusProblem:
    """A problem, or a note about missing information.

    Attributes:
        part: Node, or other part such as `API server`.
        problem: Description.
    """

    part: str
    problem: str

    def __str__(self) -> str:
        return f"{self.part}: {self.problem}"


@dataclass(frozen=True, kw_only=True)
class NodeRow:
    """A node. See the package for the fields, which have the same names in the JSON document."""

    name: str
    role: str
    address: str
    pod_cidr: str | None
    version: str
    runtime: str | None = None
    ready: bool | None = None
    reachable: bool
    clock_skew: float | None = None
    vm: str | None = None


@dataclass(frozen=True, kw_only=True)
class ServiceRow:
    """A service of a node. See the package for the fields."""

    node: str
    service: str
    unit: str | None
    active: str | None
    healthy: bool | None = None
    since: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class CertificateRow:
    """A certificate of a node. See the package for the fields."""

    node: str
    service: str
    path: str
    common_name: str
    end: datetime
    days_left: float
    expiring: bool


@dataclass(frozen=True, kw_only=True)
class EtcdRow:
    """A member of etcd. See the package for the fields."""

    member: str
    id: str
    leader: bool
    learner: bool
    version: str | None = None
    database_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class StatusReport:
    """The state of a lab.

    Attributes:
        stack: Name of the stack.
        time: Time of the report.
        api_endpoint: URL of the API server.
        kubernetes_versions: Versions that the stack wants for its nodes.
        api_server_version: Version of the API server. None if it did not answer.
        nodes: All nodes of the stack.
        services: Services of the nodes that answered.
        certificates: Certificates of the nodes that answered.
        etcd: Members of etcd.
        problems: Everything that is not well, parts that did not answer included.
        notes: Missing information, and kubeconfigs of users that ended. They are no problem of the lab.
    """

    stack: str
    time: datetime
    api_endpoint: str
    kubernetes_versions: tuple[str, ...]
    api_server_version: ApiServerVersion | None
    nodes: tuple[NodeRow, ...]
    services: tuple[ServiceRow, ...]
    certificates: tuple[CertificateRow, ...]
    etcd: tuple[EtcdRow, ...]
    problems: tuple[StatusProblem, ...] = field(default=())
    notes: tuple[StatusProblem, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 if all is well, else 1."""
        return PROBLEM if self.problems else OK

    @property
    def etcd_versions(self) -> list[str]:
        """Versions of the members of etcd that answered."""
        return sorted({row.version for row in self.etcd if row.version})

    def document(self) -> dict[str, Any]:
        """Return the JSON document; see the package for its shape."""
        return {
            "stack": self.stack,
            "time": _timestamp(self.time),
            "well": not self.problems,
            "problems": [vars(problem) for problem in self.problems],
            "notes": [vars(note) for note in self.notes],
            "versions": {
                "kubernetes": list(self.kubernetes_versions),
                "apiServer": self.api_server_version and self.api_server_version.release,
                "emulated": self.api_server_version and self.api_server_version.emulated,
                "etcd": self.etcd_versions,
            },
            "nodes": [_document(row) for row in self.nodes],
            "services": [_document(row) for row in self.services],
            "certificates": [_document(row) for row in self.certificates],
            "etcd": [_document(row) for row in self.etcd],
        }


def stopped_report(stack: str, problem: str, time: datetime) -> StatusReport:
    """Return the report of a stack whose nodes cannot be asked, because it is stopped.

    Args:
        stack: Name of the stack.
        problem: Description, with the command that starts it.
        time: Current time, in UTC.
    """
    return StatusReport(
        stack=stack,
        time=time,
        api_endpoint="",
        kubernetes_versions=(),
        api_server_version=None,
        nodes=(),
        services=(),
        certificates=(),
        etcd=(),
        problems=(StatusProblem("lab", problem),),
    )


def _document(row: object) -> dict[str, Any]:
    """Return a row with the names of the JSON document: camel case, times as text."""
    document = {}
    for name, value in vars(row).items():
        first, *others = name.split("_")
        document["".join([first, *map(str.capitalize, others)])] = (
            _timestamp(value) if isinstance(value, datetime) else value
        )
    return document


def _timestamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True)
class Section:
    """A table of the report.

    Attributes:
        title: Title.
        headings: Headings of the columns.
        rows: Cells of the rows.
        bad_rows: Indexes of the rows that show a problem.
    """

    title: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    bad_rows: frozenset[int]


def sections(report: StatusReport, *, verbose: bool = False) -> list[Section]:
    """Return the tables of a report. Empty tables are left out.

    Args:
        report: The report.
        verbose: Show all certificates, not only the expiring ones and the next one of each node.
    """
    certificates = report.certificates if verbose else _shown_certificates(report)
    found = [
        _section(
            "Nodes",
            ("NODE", "ROLE", "READY", "VERSION", "ADDRESS", "PODS", "VM"),
            [
                (
                    (row.name, row.role, _ready(row), row.version, row.address, row.pod_cidr or "-", row.vm or "-"),
                    not row.reachable or row.ready is False or row.vm not in (None, "running"),
                )
                for row in report.nodes
            ],
        ),
        _section(
            "Services",
            ("NODE", "SERVICE", "ACTIVE", "HEALTHY", "SINCE"),
            [
                (
                    (row.node, row.service, row.active or "-", _yes_or_no(row.healthy), _age(row.since, report.time)),
                    row.healthy is not True,
                )
                for row in report.services
            ],
        ),
        _section(
            "Certificates" if verbose else "Certificates that expire next",
            ("NODE", "SERVICE", "DAYS LEFT", "END", "PATH"),
            [
                (
                    (row.node, row.service, f"{row.days_left:.0f}", f"{row.end:%Y-%m-%d}", row.path),
                    row.expiring,
                )
                for row in certificates
            ],
        ),
        _section(
            "etcd",
            ("MEMBER", "ID", "LEADER", "VERSION", "DATABASE"),
            [
                (
                    (
                        row.member,
                        row.id,
                        "learner" if row.learner else _yes_or_no(row.leader),
                        row.version or "no answer",
                        "-" if row.database_bytes is None else f"{row.database_bytes / 2**20:.1f} MiB",
                    ),
                    row.learner or row.version is None,
                )
                for row in report.etcd
            ],
        ),
    ]
    return [section for section in found if section.rows]


def heading(report: StatusReport) -> str:
    """Return the first line of the text: stack, API server and versions."""
    if not report.nodes:
        return f"Stack {report.stack}"
    api_server = report.api_server_version or "no answer"
    versions = f"API server {api_server}, nodes {', '.join(report.kubernetes_versions)}"
    if report.etcd_versions:
        versions += f", etcd {', '.join(report.etcd_versions)}"
    return f"Stack {report.stack} at {report.api_endpoint}: {versions}"


def conclusion(report: StatusReport, *, quiet: bool = False) -> list[str]:
    """Return the last lines of the text: the problems, the notes, and a line if all is well.

    Args:
        report: The report.
        quiet: Only the problems.
    """
    problems = [f"PROBLEM  {problem}" for problem in report.problems]
    if quiet:
        return problems
    count = len(report.problems)
    total = "All is well." if not count else f"{count} problem{'' if count == 1 else 's'}."
    return [*problems, *(f"note     {note}" for note in report.notes), total]


def _section(title: str, headings: tuple[str, ...], rows: Sequence[tuple[tuple[str, ...], bool]]) -> Section:
    bad = frozenset(index for index, (_, is_bad) in enumerate(rows) if is_bad)
    return Section(title, headings, [cells for cells, _ in rows], bad)


def _shown_certificates(report: StatusReport) -> list[CertificateRow]:
    """Return the expiring certificates, and of each node the one that expires next."""
    by_expiry = sorted(report.certificates, key=lambda row: row.end)
    first = {row.node: row for row in reversed(by_expiry)}
    return [row for row in by_expiry if row.expiring or first[row.node] is row]


def _ready(row: NodeRow) -> str:
    if not row.reachable:
        return "unreachable" if row.ready is None else f"{_yes_or_no(row.ready)}, unreachable"
    return _yes_or_no(row.ready)


def _yes_or_no(value: bool | None) -> str:
    return {True: "yes", False: "no", None: "-"}[value]


def _age(since: datetime | None, now: datetime) -> str:
    """Return the time since a moment, in at most two units, such as `2d 3h`."""
    if since is None:
        return "-"
    seconds = max(0, int((now - since).total_seconds()))
    days, hours, minutes = seconds // SECONDS_PER_DAY, seconds // 3600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {seconds % 60}s"
