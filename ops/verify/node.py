"""What a node says about itself, as `assets/node/verify-node` prints it, against what the stack says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ops.verify.findings import Finding


class ReportError(Exception):
    """What a node printed is not a whole report."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """applied: the SHA-256 of the manifest that was applied last, by service.

    differences: service, subject and difference of each thing that is no longer as it was applied.
    """

    applied: Mapping[str, str]
    differences: tuple[tuple[str, str, str], ...]


def parse(text: str) -> Report:
    """The report in what a node printed. Raises ReportError where it is cut off or something else."""
    lines = text.splitlines()
    if not lines or lines.pop() != "end":
        raise ReportError("its report is cut off")
    applied, differences = {}, []
    for line in lines:
        match line.split("\t"):
            case ["applied", service, digest]:
                applied[service] = digest
            case ["difference", service, subject, difference]:
                differences.append((service, subject, difference))
            case _:
                raise ReportError(f"its report has a line that is none: {line!r}")
    return Report(applied=applied, differences=tuple(differences))


def differences(name: str, services: Mapping[str, str], report: Report) -> Iterator[Finding]:
    """How a node differs from the stack.

    services: the SHA-256 of the manifest that the stack has for each service of the node.
    """
    for service, digest in services.items():
        if service not in report.applied:
            yield Finding(name, service, "", "is not on the node")
        elif report.applied[service] != digest:
            yield Finding(name, service, "", "was last applied in another version than the stack's")
    for service in report.applied.keys() - services.keys():
        yield Finding(name, service, "", "is on the node, but not in the stack")
    for difference in report.differences:
        yield Finding(name, *difference)
