"""Certificates and keys for tests as PEM. They are the same in every run."""

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY = "kubernetes-ca"
VALID = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2120, 1, 1, tzinfo=UTC))


def pair(
    common_name: str,
    *,
    key: str = "",
    issuer: str = "",
    authority: bool | None = None,
    organization: str = "system:nodes",
    uses: Collection[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
    names: Collection[str] = ("guest-0", "10.240.0.30"),
    valid: tuple[datetime, datetime] = VALID,
) -> tuple[str, str]:
    """Return a certificate and its key. The defaults fit the kubelet of the stack `join`.

    Args:
        common_name: The common name of the subject.
        key: The seed of the key. The default is the common name.
        issuer: The common name of the issuer. By default, a CA signs itself, and AUTHORITY signs all others.
        authority: True for a CA. None means that the common name of a CA ends with `-ca`.
        organization: The organization of the subject, unless it is a CA.
        uses: The extended key usages. If empty, the certificate has no such extension.
        names: DNS names and addresses.
        valid: The first and the last moment of validity.
    """
    authority = common_name.endswith("-ca") if authority is None else authority
    issuer = issuer or (common_name if authority else AUTHORITY)
    private = _key(key or common_name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(common_name, "" if authority else organization))
        .issuer_name(_name(issuer))
        .public_key(private.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(f"{common_name} {key} {issuer} {valid}".encode()).digest()[:8]))
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if uses and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    if names and not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(_alternative_name, names)), critical=False)
    certificate = builder.sign(_key(issuer), SHA256(), ecdsa_deterministic=True)
    return (
        certificate.public_bytes(Encoding.PEM).decode(),
        private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode(),
    )


def _key(seed: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(seed.encode()).digest()), ec.SECP256R1())


def _name(common_name: str, organization: str = "") -> x509.Name:
    parts = {NameOID.ORGANIZATION_NAME: organization, NameOID.COMMON_NAME: common_name}
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts.items() if text])


def _alternative_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
