"""Certificates and private keys in PEM, as plain data.

This module does not parse certificates, so importing it does not import `cryptography`. `lab.config.x509` parses the
certificates that a stack gives, and is imported only when there are any.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

CERTIFICATE_LABEL = "CERTIFICATE"
"""The label of a certificate in PEM, as a regular expression."""

PRIVATE_KEY_LABEL = "(?:EC |RSA )?PRIVATE KEY"
"""The label of an unencrypted private key in PEM, as a regular expression."""

CLIENT_AUTH = "clientAuth"
"""The extended key usage of a TLS client certificate."""

SERVER_AUTH = "serverAuth"
"""The extended key usage of a TLS server certificate."""


class Claim(StrEnum):
    """A kind of statement that a certificate makes about its subject. The value is its name in error messages."""

    USAGE = "extended key usage"
    ORGANIZATION = "organization"
    NAME = "subject alternative name"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """An X.509 certificate.

    Attributes:
        text: The certificate in PEM, without surrounding text.
        common_name: The common name of the subject; empty if it has none.
        is_authority: True if the certificate may issue other certificates.
        claims: The values of each claim. Usages are CLIENT_AUTH and SERVER_AUTH only; names are DNS names and IP
            addresses.
        not_before: The start of the validity period.
        not_after: The end of the validity period.
        public_key: The public key in DER.
    """

    text: str
    common_name: str
    is_authority: bool
    claims: Mapping[Claim, frozenset[str]] = field(repr=False, hash=False)
    not_before: datetime
    not_after: datetime
    public_key: bytes = field(repr=False)

    def is_valid_at(self, time: datetime) -> bool:
        """Return True if the time is within the validity period."""
        return self.not_before <= time <= self.not_after


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A private key.

    Attributes:
        text: The key in PEM, without surrounding text. Secret.
        public_key: The matching public key in DER. Not secret.
    """

    text: str = field(repr=False)
    public_key: bytes = field(repr=False)

    def matches(self, certificate: Certificate) -> bool:
        """Return True if the certificate contains the public key of this private key."""
        return self.public_key == certificate.public_key


def renewal_notice(count: int, begin: datetime) -> str:
    """Return the notice of a renewal that has not begun.

    Args:
        count: The number of certificates.
        begin: The time from which the next `hardway up` renews the first of them.
    """
    subject = "a certificate" if count == 1 else f"{count} certificates"
    return (
        f"From {begin:%Y-%m-%d %H:%M} UTC on, `hardway up` renews {subject}, and restarts the services that read them. "
        "`hardway up --renew` does that earlier."
    )


def pem_bundle(certificates: Iterable[Certificate]) -> str:
    """Return certificates as one PEM text."""
    return "".join(certificate.text for certificate in certificates)


def pem_blocks(text: str, label: str) -> list[str]:
    """Return the PEM blocks in a text, without the text around them.

    Args:
        text: Any text.
        label: CERTIFICATE_LABEL or PRIVATE_KEY_LABEL.
    """
    matches = re.findall(rf"(-----BEGIN ({label})-----\s[A-Za-z0-9+/=\s]+-----END \2-----)", text)
    return [f"{block}\n" for block, _ in matches]


def key_id(public_key: str) -> str:
    """Return the `kid` of the tokens that a service account key signs (pkg/serviceaccount/jwt.go of k8s.io/kubernetes).

    Args:
        public_key: The public key in PEM.
    """
    der = base64.b64decode("".join(public_key.strip().splitlines()[1:-1]))
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")
