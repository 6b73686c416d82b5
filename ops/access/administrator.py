"""The administrator of a lab, whose certificates this machine signs with the key of the CA in the stack's state."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from host.engine.certificates import SIGNED
from host.engine.urns import resource_name
from lab.outputs import AdministratorOutputs
from lab.pki import ADMIN, ADMIN_USER, MASTERS_GROUP, SUPER_ADMIN_USER
from ops.access.user import AccessError, User, create_key, key_text, subject

API_VERSION = "client.authentication.k8s.io/v1"

SUPER_ADMIN_HOURS = 1
"""Validity of certificates with MASTERS_GROUP, whose rights no binding ends."""

BACKDATED = timedelta(minutes=5)
"""The time by which certificates are predated, for nodes whose clock is behind, as the signer of Kubernetes does."""

_STACK = "pulumi:pulumi:Stack"


@dataclass(frozen=True, kw_only=True)
class Administrator:
    """An administrator and the CA that signs its certificates.

    Attributes:
        user: The user.
        hours: Validity of its certificates.
        authority: Certificate of the CA, PEM.
        key: Private key of the CA, PEM; secret.
    """

    user: User
    hours: int
    authority: str
    key: str = field(repr=False)


def administrator_of(deployment: Mapping[str, Any], *, is_super_admin: bool) -> Administrator:
    """Return the administrator of a stack.

    The outputs name its group when the cluster has a binding for that. Before, as in the first `up`, the administrator
    is in MASTERS_GROUP, so that a person can inspect a lab that fails to come up.

    Args:
        deployment: The state of the stack, as `pulumi stack export` prints it with secrets in plain text.
        is_super_admin: True for one that needs no RBAC.

    Raises:
        AccessError: The lab signs no certificates of administrators.
    """
    resources = [each for each in deployment.get("resources") or () if not each.get("delete")]
    signed = [each["inputs"] for each in resources if each["type"] == SIGNED and resource_name(each["urn"]) == ADMIN]
    if not signed:
        raise AccessError("its state has no key that signs certificates of administrators. Bring it up: `hardway up`")
    outputs: Mapping[str, Any] = next((each.get("outputs") or {} for each in resources if each["type"] == _STACK), {})
    if "administrator" in outputs and not is_super_admin:
        admin = AdministratorOutputs.from_dict(outputs["administrator"])
    else:
        admin = AdministratorOutputs[str](group=MASTERS_GROUP, certificate_hours=SUPER_ADMIN_HOURS)
    return Administrator(
        user=User(name=SUPER_ADMIN_USER if is_super_admin else ADMIN_USER, groups=(admin.group,)),
        hours=admin.certificate_hours,
        authority=_plain(signed[0]["caCertPem"]),
        key=_plain(signed[0]["caPrivateKeyPem"]),
    )


def sign_credential(administrator: Administrator, now: datetime) -> str:
    """Sign a certificate for a new key, and return both as an ExecCredential in JSON. Secret.

    The credential counts as expired after half of the certificate's validity, so that a client which has just got it
    can use it for at least the other half.

    Args:
        administrator: The administrator.
        now: Current time, in UTC.

    Raises:
        AccessError: The CA has expired.
    """
    key, validity = create_key(), timedelta(hours=administrator.hours)
    authority = x509.load_pem_x509_certificate(administrator.authority.encode())
    end = min(now + validity, authority.not_valid_after_utc)
    if end <= now:
        raise AccessError(f"its CA expired on {end:%Y-%m-%d %H:%M} UTC. `hardway up` renews it")
    signer = load_pem_private_key(administrator.key.encode(), password=None)
    assert isinstance(signer, EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey), "no other key signs"
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject(administrator.user))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    )
    certificate = builder.sign(signer, None if isinstance(signer, Ed25519PrivateKey) else SHA256())
    return json.dumps(
        {
            "apiVersion": API_VERSION,
            "kind": "ExecCredential",
            "status": {
                "expirationTimestamp": f"{now + (end - now) / 2:%Y-%m-%dT%H:%M:%SZ}",
                "clientCertificateData": certificate.public_bytes(Encoding.PEM).decode(),
                "clientKeyData": key_text(key),
            },
        }
    )


def _plain(value: Any) -> str:
    """Return a text of a state, which is encoded if it is secret."""
    return str(json.loads(value["plaintext"])) if isinstance(value, Mapping) else str(value)
