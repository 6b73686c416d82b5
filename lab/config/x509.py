"""What certificates and keys say, read by cryptography; for lab/certificates.py alone."""

from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.certificates import CLIENT, SERVER, Certificate, Claim

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


def certificate(block: str) -> Certificate:
    """The certificate in a block of PEM. Raises ValueError where it cannot be read."""
    try:
        return _certificate(x509.load_pem_x509_certificate(block.encode()))
    except _UNREADABLE as error:
        raise ValueError(f"{error}") from error


def public_key_of(block: str) -> bytes:
    """The half that is not secret of the key in a block of PEM. Raises ValueError where it cannot be read."""
    try:
        return _bytes(load_pem_private_key(block.encode(), password=None).public_key())
    except _UNREADABLE as error:
        raise ValueError(f"{error}") from error


def is_issued_by(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether the other's key has signed the one, and by the other's name."""
    try:
        one.verify_directly_issued_by(other)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _certificate(parsed: x509.Certificate) -> Certificate:
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
