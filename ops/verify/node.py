"""The report of `assets/node/verify-node` on a node, compared with the stack."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from lab.secrets import is_fingerprint_of
from ops import clock
from ops.certificates import CertificateState, read_certificates
from ops.etcd.state import EtcdStatus
from ops.verify.differences import Difference
from system.errors import HardwayError


class ReportError(HardwayError):
    """The output of a node is not a complete report."""


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """The report of a node.

    Attributes:
        applied: SHA-256 of the manifest that was applied last, by service.
        differences: Service, subject and description of everything that changed since it was applied.
        etcd: State of its etcd. None for a worker, or if etcd did not answer.
        times: Times of the node's clock, in seconds since 1970. Older versions print none.
        certificates: Certificates in the files of services. Older versions print none.
    """

    applied: Mapping[str, str]
    differences: tuple[tuple[str, str, str], ...]
    etcd: EtcdStatus | None = None
    times: tuple[float, ...] = ()
    certificates: tuple[CertificateState, ...] = ()


def parse(text: str) -> NodeReport:
    """Parse the output of a node.

    Raises:
        ReportError: The report is cut off, or the output is something else.
    """
    lines = text.splitlines()
    if not lines or lines.pop() != "end":
        raise ReportError("its report is cut off")
    applied, differences, times = {}, [], []
    certificates: list[CertificateState] = []
    etcd = None
    for line in lines:
        match line.split("\t"):
            case ["clock", seconds] if clock.is_time(seconds):
                times.append(float(seconds))
            case ["applied", service, digest]:
                applied[service] = digest
            case ["difference", service, subject, difference]:
                differences.append((service, subject, difference))
            case ["certificate", service, path, pem]:
                # `status` names files whose certificates cannot be read.
                with suppress(ValueError):
                    certificates += read_certificates(service, path, pem)
            case ["etcd", text]:
                etcd = _etcd(text)
            case _:
                raise ReportError(f"its report has an invalid line: {line!r}")
    return NodeReport(
        applied=applied,
        differences=tuple(differences),
        etcd=etcd,
        times=tuple(times),
        certificates=tuple(certificates),
    )


def _etcd(text: str) -> EtcdStatus:
    try:
        return EtcdStatus.from_dict(json.loads(text)[0]["Status"])
    except (ValueError, LookupError, TypeError):
        raise ReportError(f"its report has an invalid state of etcd: {text[:80]!r}") from None


def differences(name: str, services: Mapping[str, str], report: NodeReport, key: str) -> Iterator[Difference]:
    """Yield the differences between a node and the stack.

    Args:
        name: Name of the node.
        services: SHA-256 of the manifest that the stack has for each service of the node, or its keyed fingerprint.
        report: Report of the node.
        key: Key of the fingerprints.
    """
    for service, digest in services.items():
        if service not in report.applied:
            yield Difference(name, service, "", "is not on the node")
        elif not is_fingerprint_of(report.applied[service], digest, key):
            yield Difference(name, service, "", "the version on the node is not the stack's")
    for service in sorted(report.applied.keys() - services.keys()):
        yield Difference(name, service, "", "is on the node, but not in the stack")
    for difference in report.differences:
        yield Difference(name, *difference)
    for problem in report.etcd.problems if report.etcd else ():
        yield Difference(name, "", "", problem)
