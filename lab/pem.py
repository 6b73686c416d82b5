"""Certificates and keys as PEM: whose a certificate is, what it says and who issued it, and which key is its own."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CERTIFICATE, KEY = "CERTIFICATE", "(?:EC |RSA )?PRIVATE KEY"
"""What blocks of PEM are called, as patterns."""

CLIENT, SERVER = "clientAuth", "serverAuth"
"""The extended key usages by which a certificate is good for one side of TLS."""

_USES = {CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH, SERVER: ExtendedKeyUsageOID.SERVER_AUTH}

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for what it cannot read."""


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


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

    def leads_to(self, authorities: Collection["Certificate"], between: Collection["Certificate"]) -> bool:
        """Whether one of the authorities issued it, be it by way of some that stand between."""
        return any(map(self._is_issued_by, authorities)) or any(
            self._is_issued_by(one) and one.leads_to(authorities, [other for other in between if other != one])
            for one in between
            if one.issues
        )

    def _is_issued_by(self, other: "Certificate") -> bool:
        try:
            self.parsed.verify_directly_issued_by(other.parsed)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            return False
        return True


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
    found = blocks(text, CERTIFICATE)
    try:
        if not found or len(found) != text.count(f"-----BEGIN {CERTIFICATE}"):
            raise ValueError("none, or one that is cut off")
        return tuple(dict.fromkeys(map(_certificate, found)))
    except _UNREADABLE:
        raise ValueError(
            "must be certificates as PEM, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        ) from None


def joined(several: Iterable[Certificate]) -> str:
    """Certificates as one text."""
    return "".join(one.text for one in several)


def private_key(text: str) -> PrivateKey:
    """The key in a text. Raises ValueError where there is not just one, or one that has a passphrase."""
    try:
        [block] = blocks(text, KEY)
        parsed = load_pem_private_key(block.encode(), password=None)
        return PrivateKey(text=block, public_key=_bytes(parsed.public_key()))
    except _UNREADABLE:
        raise ValueError(
            "must be one private key without a passphrase as PEM, from -----BEGIN to PRIVATE KEY-----"
        ) from None


def blocks(text: str, kind: str) -> list[str]:
    """The blocks of a kind in a text, without what stands around them."""
    found = re.findall(rf"(-----BEGIN ({kind})-----\s[A-Za-z0-9+/=\s]+-----END \2-----)", text)
    return [f"{block}\n" for block, _ in found]


def _certificate(block: str) -> Certificate:
    parsed = x509.load_pem_x509_certificate(block.encode())
    return Certificate(
        text=parsed.public_bytes(Encoding.PEM).decode(),
        common_name=["", *_subject(parsed, NameOID.COMMON_NAME)][-1],
        issues=_issues(parsed),
        claims={
            Claim.USE: _uses(parsed),
            Claim.ORGANIZATION: frozenset(_subject(parsed, NameOID.ORGANIZATION_NAME)),
            Claim.NAME: _names(parsed),
        },
        begin=parsed.not_valid_before_utc,
        end=parsed.not_valid_after_utc,
        public_key=_bytes(parsed.public_key()),
        parsed=parsed,
    )


def _subject(parsed: x509.Certificate, kind: x509.ObjectIdentifier) -> list[str]:
    return [str(part.value) for part in parsed.subject.get_attributes_for_oid(kind)]


def _uses(parsed: x509.Certificate) -> frozenset[str]:
    """Those of TLS; both where none is said, or any."""
    said = set(_extension(parsed, x509.ExtendedKeyUsage) or {ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
    return frozenset(use for use, kind in _USES.items() if said & {kind, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


def _names(parsed: x509.Certificate) -> frozenset[str]:
    said = _extension(parsed, x509.SubjectAlternativeName)
    if said is None:
        return frozenset()
    return frozenset([*said.get_values_for_type(x509.DNSName), *map(str, said.get_values_for_type(x509.IPAddress))])


def _issues(parsed: x509.Certificate) -> bool:
    """As CheckSignatureFrom of Go's crypto/x509 has it, by which everything in a cluster goes."""
    constraints, usage = _extension(parsed, x509.BasicConstraints), _extension(parsed, x509.KeyUsage)
    authority = constraints.ca if constraints else parsed.version is x509.Version.v1
    return authority and (usage is None or usage.key_cert_sign)


def _extension(parsed: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    return next((extension.value for extension in parsed.extensions if isinstance(extension.value, kind)), None)


def _bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
