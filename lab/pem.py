"""Certificates and keys as PEM: whose a certificate is, and which key is its own."""

import re
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID

CERTIFICATE, KEY = "CERTIFICATE", "(?:EC |RSA )?PRIVATE KEY"
"""What blocks of PEM are called, as patterns."""

_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What cryptography raises for what it cannot read."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate. text: as PEM, and nothing else. common_name: its subject's, empty where it has none."""

    text: str
    common_name: str
    public_key: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PrivateKey:
    """A key. text: as PEM, and nothing else; secret. public_key: the half of it that is not."""

    text: str = field(repr=False)
    public_key: bytes = field(repr=False)

    def fits(self, certificate: Certificate) -> bool:
        """Whether the certificate is of this key."""
        return self.public_key == certificate.public_key


def certificate(text: str) -> Certificate:
    """The certificate in a text. Raises ValueError where there is not just one."""
    try:
        [block] = blocks(text, CERTIFICATE)
        parsed = x509.load_pem_x509_certificate(block.encode())
        names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return Certificate(
            text=block,
            common_name=str(names[-1].value) if names else "",
            public_key=_bytes(parsed.public_key()),
        )
    except _UNREADABLE:
        raise ValueError(
            "must be one certificate as PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
        ) from None


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


def _bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
