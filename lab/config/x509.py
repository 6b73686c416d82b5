"""Parse certificates and private keys, and verify who issued a certificate.

This is the only module of `lab` that imports `cryptography`. Import it inside functions only: the import takes 25 ms,
and every preview would pay for it.
"""

import base64
from collections.abc import Collection
from typing import TypeVar

import yaml
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.certificates import (
    CERTIFICATE_LABEL,
    CLIENT_AUTH,
    PRIVATE_KEY_LABEL,
    SERVER_AUTH,
    Certificate,
    Claim,
    PrivateKey,
    pem_blocks,
)

_USAGES = {CLIENT_AUTH: ExtendedKeyUsageOID.CLIENT_AUTH, SERVER_AUTH: ExtendedKeyUsageOID.SERVER_AUTH}

_PARSE_ERRORS = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""The exceptions that cryptography raises for input that it cannot parse."""

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def certificates(text: str) -> tuple[Certificate, ...]:
    """Parse the certificates in a PEM text.

    Returns:
        The certificates in the order of the text, without duplicates.

    Raises:
        ValueError: The text contains no certificate, or one that cannot be parsed.
    """
    blocks = pem_blocks(text, CERTIFICATE_LABEL)
    try:
        if not blocks or len(blocks) != text.count(f"-----BEGIN {CERTIFICATE_LABEL}"):
            raise ValueError("no certificate, or an incomplete one")
        return tuple(dict.fromkeys(_certificate(x509.load_pem_x509_certificate(block.encode())) for block in blocks))
    except _PARSE_ERRORS:
        raise ValueError(
            "must be certificates in PEM format, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        ) from None


def client_certificate(kubeconfig: str) -> Certificate | None:
    """Return the client certificate in the text of a kubeconfig.

    None if the text is something else, has several users, or authenticates its user in another way.
    """
    try:
        [entry] = yaml.safe_load(kubeconfig)["users"]
        return certificates(base64.b64decode(entry["user"]["client-certificate-data"]).decode())[0]
    except (ValueError, LookupError, TypeError, yaml.YAMLError):
        return None


def private_key(text: str) -> PrivateKey:
    """Parse the private key in a PEM text.

    Raises:
        ValueError: The text does not contain exactly one private key without a passphrase.
    """
    try:
        [block] = pem_blocks(text, PRIVATE_KEY_LABEL)
        public_key = load_pem_private_key(block.encode(), password=None).public_key()
        return PrivateKey(text=block, public_key=_der(public_key))
    except _PARSE_ERRORS:
        raise ValueError(
            "must be one private key in PEM format without a passphrase, from -----BEGIN to PRIVATE KEY-----"
        ) from None


def is_issued_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Return True if the issuer's key signed the certificate and the certificate names the issuer."""
    try:
        _parsed(certificate).verify_directly_issued_by(_parsed(issuer))
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def issuer_name(text: str) -> str:
    """Return the common name of the issuer of the first certificate in a PEM text; empty if it names none.

    Raises:
        ValueError: The text contains no certificate.
    """
    attributes = _parsed(certificates(text)[0]).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[-1].value) if attributes else ""


def has_chain(
    certificate: Certificate, authorities: Collection[Certificate], intermediates: Collection[Certificate]
) -> bool:
    """Return True if a chain leads from the certificate to one of the authorities.

    Args:
        certificate: The certificate at the start of the chain.
        authorities: The trusted certificates.
        intermediates: Certificates that the chain may use, in any order.
    """
    if any(is_issued_by(certificate, authority) for authority in authorities):
        return True
    return any(
        is_issued_by(certificate, intermediate)
        and has_chain(intermediate, authorities, [other for other in intermediates if other != intermediate])
        for intermediate in intermediates
        if intermediate.is_authority
    )


def _parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.text.encode())


def _certificate(parsed: x509.Certificate) -> Certificate:
    return Certificate(
        text=parsed.public_bytes(Encoding.PEM).decode(),
        common_name=["", *_subject_attributes(parsed, NameOID.COMMON_NAME)][-1],
        is_authority=_is_authority(parsed),
        claims={
            Claim.USAGE: _usages(parsed),
            Claim.ORGANIZATION: frozenset(_subject_attributes(parsed, NameOID.ORGANIZATION_NAME)),
            Claim.NAME: _alternative_names(parsed),
        },
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        public_key=_der(parsed.public_key()),
    )


def _subject_attributes(parsed: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in parsed.subject.get_attributes_for_oid(oid)]


def _usages(parsed: x509.Certificate) -> frozenset[str]:
    """Return the TLS usages.

    A certificate without the extension, or with anyExtendedKeyUsage, is valid for both.
    """
    unrestricted = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
    allowed = set(_extension(parsed, x509.ExtendedKeyUsage) or {unrestricted})
    return frozenset(usage for usage, oid in _USAGES.items() if allowed & {oid, unrestricted})


def _alternative_names(parsed: x509.Certificate) -> frozenset[str]:
    extension = _extension(parsed, x509.SubjectAlternativeName)
    if extension is None:
        return frozenset()
    addresses = map(str, extension.get_values_for_type(x509.IPAddress))
    return frozenset([*extension.get_values_for_type(x509.DNSName), *addresses])


def _is_authority(parsed: x509.Certificate) -> bool:
    """Apply the rule of CheckSignatureFrom in Go's crypto/x509, because every Kubernetes component uses it."""
    constraints, usage = _extension(parsed, x509.BasicConstraints), _extension(parsed, x509.KeyUsage)
    is_authority = constraints.ca if constraints else parsed.version is x509.Version.v1
    return is_authority and (usage is None or usage.key_cert_sign)


def _extension(parsed: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    return next((extension.value for extension in parsed.extensions if isinstance(extension.value, kind)), None)


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
