"""Certificates on nodes and in kubeconfigs: when they end, and what renews them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from lab.certificates import Certificate
from lab.config.x509 import certificates, client_certificate
from lab.spec import Join, Spec

SECONDS_PER_DAY = 24 * 3600

_ISSUED = "kubelet-client-current.pem"
"""The file in which a kubelet keeps the client certificate that the cluster issues. The kubelet renews it itself."""


@dataclass(frozen=True, kw_only=True)
class CertificateState:
    """A certificate in a file.

    Attributes:
        service: Service whose file it is.
        path: Path of the file.
        common_name: Common name of its subject.
        end: Time when it expires.
    """

    service: str
    path: str
    common_name: str
    end: datetime


def read_certificates(service: str, path: str, pem: str) -> list[CertificateState]:
    """Return the certificates in a file of a node.

    Args:
        service: Service whose file it is.
        path: Path of the file.
        pem: Its certificates as `print_certificates` in assets/node/manifest.sh prints them.

    Raises:
        ValueError: They cannot be read.
    """
    return [
        CertificateState(service=service, path=path, common_name=each.common_name, end=each.not_after)
        for each in certificates(pem.replace("|", "\n"))
    ]


def client_certificate_in(file: Path) -> Certificate | None:
    """Return the client certificate in a kubeconfig as `client_certificate` does. None if the file cannot be read."""
    try:
        return client_certificate(file.read_text(errors="replace"))
    except OSError:
        return None


def expiry(certificate: CertificateState, spec: Spec | str, now: datetime) -> str | None:
    """Describe the end of a certificate that expired, or is within its renewal window, and what renews it.

    Args:
        certificate: The certificate.
        spec: The lab that the configuration describes, or the reason why that cannot be read.
        now: Current time, in UTC.

    Returns:
        The description, None for a certificate that is valid for longer.
    """
    window, remedy = 0, "the next `hardway up` renews it"
    if PurePosixPath(certificate.path).name == _ISSUED:
        remedy = "its kubelet should have renewed it, and logs why not: journalctl --unit kubelet"
    elif not isinstance(spec, str):
        window = spec.certificates.renewal * 3600
        if spec.join and certificate.common_name in _given_names(spec.join):
            remedy = "set a new one in hardway:join"
    left = (certificate.end - now).total_seconds()
    if left > window:
        return None
    end = f"{certificate.end:%Y-%m-%d %H:%M} UTC"
    when = f"expired on {end}" if left <= 0 else f"expires on {end}, in {left / SECONDS_PER_DAY:.1f} days"
    return f"{when}; {remedy}"


def next_renewal(certificate: CertificateState, spec: Spec | str, now: datetime) -> datetime | None:
    """Return the time from which `hardway up` renews a certificate, if that begins soon. None if it does not renew it.

    Args:
        certificate: The certificate.
        spec: The lab that the configuration describes, or the reason why that cannot be read.
        now: Current time, in UTC.
    """
    if isinstance(spec, str) or PurePosixPath(certificate.path).name == _ISSUED:
        return None
    if spec.join and certificate.common_name in _given_names(spec.join):
        return None
    return spec.certificates.next_renewal(certificate.end, now)


def upcoming_renewal(certificate: CertificateState, spec: Spec | str, now: datetime) -> str | None:
    """Describe a renewal that begins soon: see `next_renewal`. None if there is none."""
    begin = next_renewal(certificate, spec, now)
    end = f"expires on {certificate.end:%Y-%m-%d %H:%M} UTC"
    return f"{end}; `hardway up` renews it from {begin:%Y-%m-%d %H:%M} UTC on" if begin else None


def _given_names(join: Join) -> Iterator[str]:
    """Yield the common names of the certificates that the configuration gives."""
    yield from join.certificates
    yield from (authority.common_name for authority in join.authorities)
    if administrator := client_certificate(join.kubeconfig):
        yield administrator.common_name
