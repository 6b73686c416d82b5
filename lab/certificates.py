"""Certificates and keys as PEM: whose a certificate is, what it says and who issued it, and which key is its own.

lab/config/x509.py, which reads them, is imported only where there is one to read: every preview would wait for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

CERTIFICATE, KEY = "CERTIFICATE", "(?:EC |RSA )?PRIVATE KEY"
"""What blocks of PEM are called, as patterns."""

CLIENT, SERVER = "clientAuth", "serverAuth"
"""The extended key usages by which a certificate is good for one side of TLS."""


class Claim(StrEnum):
    """What a certificate says of who has it. Of uses, those of TLS; of names, those of DNS and addresses."""

    USE = "extended key usage"
    ORGANIZATION = "organization"
    NAME = "subject alternative name"


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate.

    text: as PEM, and nothing else. common_name: its subject's, empty where it has none.
    issues: whether it may issue others, as an authority's may. claims: all else that it says of who has it.
    begin, end: when it is valid.
    """

    text: str
    common_name: str
    issues: bool
    claims: Mapping[Claim, frozenset[str]] = field(repr=False, hash=False)
    begin: datetime
    end: datetime
    public_key: bytes = field(repr=False)
    parsed: x509.Certificate = field(repr=False)

    def is_valid(self, now: datetime) -> bool:
        """Whether it is within its time."""
        return self.begin <= now <= self.end

    def leads_to(self, authorities: Collection[Certificate], between: Collection[Certificate]) -> bool:
        """Whether one of the authorities issued it, be it by way of some that stand between."""
        return any(map(self._is_issued_by, authorities)) or any(
            self._is_issued_by(one) and one.leads_to(authorities, [other for other in between if other != one])
            for one in between
            if one.issues
        )

    def _is_issued_by(self, other: Certificate) -> bool:
        from lab.config.x509 import is_issued_by

        return is_issued_by(self.parsed, other.parsed)


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A key. text: as PEM, and nothing else; secret. public_key: the half of it that is not."""

    text: str = field(repr=False)
    public_key: bytes = field(repr=False)

    def fits(self, certificate: Certificate) -> bool:
        """Whether the certificate is of this key."""
        return self.public_key == certificate.public_key


def certificates(text: str) -> tuple[Certificate, ...]:
    """The certificates in a text, in their order, each once. Raises ValueError where there is none or a broken one."""
    from lab.config.x509 import certificate

    found = blocks(text, CERTIFICATE)
    try:
        if not found or len(found) != text.count(f"-----BEGIN {CERTIFICATE}"):
            raise ValueError("none, or one that is cut off")
        return tuple(dict.fromkeys(map(certificate, found)))
    except ValueError:
        raise ValueError(
            "must be certificates as PEM, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        ) from None


def joined(several: Iterable[Certificate]) -> str:
    """Certificates as one text."""
    return "".join(one.text for one in several)


def private_key(text: str) -> PrivateKey:
    """The key in a text. Raises ValueError where there is not just one, or one that has a passphrase."""
    from lab.config.x509 import public_key_of

    try:
        [block] = blocks(text, KEY)
        return PrivateKey(text=block, public_key=public_key_of(block))
    except ValueError:
        raise ValueError(
            "must be one private key without a passphrase as PEM, from -----BEGIN to PRIVATE KEY-----"
        ) from None


def blocks(text: str, kind: str) -> list[str]:
    """The blocks of a kind in a text, without what stands around them."""
    found = re.findall(rf"(-----BEGIN ({kind})-----\s[A-Za-z0-9+/=\s]+-----END \2-----)", text)
    return [f"{block}\n" for block, _ in found]
