"""A user of the cluster: the names that are allowed, the private key, and the request for a certificate."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from system.errors import HardwayError

RESERVED_PREFIX = "system:"
"""The prefix of the users and groups that Kubernetes reserves for itself."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+:/-]{0,63}")
"""The names of users and groups. 64 characters are the limit of a common name in X.509."""


class AccessError(HardwayError):
    """A kubeconfig cannot be created. The message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the cluster.

    Attributes:
        name: The user name, which is the common name of the certificate.
        groups: The groups, which are the organizations of the certificate.
    """

    name: str
    groups: tuple[str, ...] = ()


def check_user(user: User, identities: Collection[str]) -> None:
    """Check the names of a user and its groups.

    Args:
        user: The user.
        identities: The user names of the lab's own certificates.

    Raises:
        AccessError: A name is not valid, or reserved.
    """
    for option, name in (("--user", user.name), *(("--group", group) for group in user.groups)):
        if _NAME.fullmatch(name) is None:
            raise AccessError(
                f"{option} {name!r} is not a valid name. Allowed are 1 to 64 letters, digits and the characters "
                "._@+:/- and the first one must be a letter or a digit."
            )
        if name.startswith(RESERVED_PREFIX):
            raise AccessError(
                f"{option} {name} is reserved for Kubernetes, like all names that begin with `{RESERVED_PREFIX}`. Its "
                "rights are in no binding that could be deleted: system:masters may do everything until the "
                "certificate ends. Use another name and bind a role to it, for example: "
                f"kubectl create clusterrolebinding NAME --clusterrole=cluster-admin {option}=OTHER"
            )
    if user.name in identities:
        raise AccessError(
            f"--user {user.name} is the name of one of the lab's own certificates, and its bindings would hold for "
            "the user, too. Use another name."
        )


def create_key() -> ec.EllipticCurvePrivateKey:
    """Return a new private key of the kind that the lab's own certificates have."""
    return ec.generate_private_key(ec.SECP256R1())


def key_text(key: ec.EllipticCurvePrivateKey) -> str:
    """Return a private key as PEM. Secret."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def subject(user: User) -> x509.Name:
    """Return the subject of a user's certificate.

    See https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates.
    """
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in user.groups),
            x509.NameAttribute(NameOID.COMMON_NAME, user.name),
        ]
    )


def certificate_request(user: User, key: ec.EllipticCurvePrivateKey) -> str:
    """Return the request for a certificate of a user, as PEM. It does not contain the private key."""
    request = x509.CertificateSigningRequestBuilder().subject_name(subject(user)).sign(key, SHA256())
    return request.public_bytes(Encoding.PEM).decode()
