"""Differences between a lab and its stack, and the report of them: as text, as JSON and as an exit code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ops.command_line import NOT_CHECKED, OK, PROBLEM
from ops.junit import Case


@dataclass(frozen=True, order=True)
class Difference:
    """A difference between a node and the stack.

    Attributes:
        node: Name of the node.
        service: Service that it belongs to. Empty if no service of the stack can correct it.
        subject: File, unit or image that differs. Empty if it is the service itself.
        difference: Description, such as `content differs`.
    """

    node: str
    service: str
    subject: str
    difference: str

    def __str__(self) -> str:
        description = f"{self.subject}: {self.difference}" if self.subject else self.difference
        return f"{self.node}  {self.service or '-'}  {description}"


@dataclass(frozen=True, order=True)
class ExpiringCertificate:
    """A certificate of a node that expired or expires soon. It does not differ from the stack.

    Attributes:
        node: Name of the node.
        service: Service whose file it is.
        path: Path of the file.
        expiry: Time when it expires, and what renews it.
    """

    node: str
    service: str
    path: str
    expiry: str

    def __str__(self) -> str:
        return f"{self.node}  {self.service}  {self.path}: {self.expiry}"


@dataclass(frozen=True, kw_only=True)
class VerifyReport:
    """The result of comparing a lab with its stack.

    Attributes:
        nodes: Number of nodes that were compared.
        services: Number of services on these nodes.
        differences: All differences, sorted.
        unseen: Reason for each part that could not be compared, by its name.
        unchanged: Node and name of each service without a difference.
        certificates: Certificates that expired or expire soon, sorted.
        joined: Nodes with which other labs have joined the cluster. They are no differences.
    """

    nodes: int
    services: int
    differences: tuple[Difference, ...]
    unseen: Mapping[str, str]
    unchanged: tuple[tuple[str, str], ...] = ()
    certificates: tuple[ExpiringCertificate, ...] = ()
    joined: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if nothing differs, 1 if something differs, 2 if not everything could be compared."""
        if self.unseen:
            return NOT_CHECKED
        return PROBLEM if self.differences else OK

    def text(self, *, quiet: bool = False, verbose: bool = False) -> str:
        """Return the lines of the report, and the count.

        Each difference, expiring certificate, node of another lab and part that did not answer has a line.

        Args:
            quiet: Leave out the count.
            verbose: Add a line for each service without a difference.
        """
        lines = [f"{node}  {service}  does not differ" for node, service in self.unchanged] if verbose else []
        lines += [str(difference) for difference in self.differences]
        lines += [str(certificate) for certificate in self.certificates]
        lines += [f"{name}  is a node of another lab, which has joined the cluster" for name in self.joined]
        lines += [f"{name}  could not be compared: {reason}" for name, reason in self.unseen.items()]
        counts = (
            _count(self.nodes, "node"),
            _count(self.services, "service"),
            _count(len(self.differences), "difference"),
        )
        return "\n".join([*lines, *([] if quiet else [", ".join(counts)])])

    def test_cases(self) -> list[Case]:
        """Return the services and the parts that could not be compared as the tests of a CI system."""
        differing: dict[tuple[str, str], list[str]] = {}
        for each in self.differences:
            differing.setdefault((each.node, each.service or "node"), []).append(str(each))
        cases = [Case(group=node, name=service) for node, service in self.unchanged]
        cases += [
            Case(group=node, name=service, failure="\n".join(texts)) for (node, service), texts in differing.items()
        ]
        cases += [Case(group=name, name="comparison", error=reason) for name, reason in self.unseen.items()]
        return cases

    def json(self) -> str:
        """Return the report as a JSON document; see the package for its shape."""
        document = {
            "nodes": self.nodes,
            "services": self.services,
            "differences": [vars(difference) for difference in self.differences],
            "certificates": [vars(certificate) for certificate in self.certificates],
            "joined": list(self.joined),
            "unseen": dict(self.unseen),
        }
        return json.dumps(document, indent=2)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
