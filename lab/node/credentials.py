"""Credentials as files on a node: certificates, keys, and the certificates of authorities."""

from dataclasses import dataclass

from lab.node.service import Credential, File, Part
from lab.pki import Authority, authority_identity


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """A certificate and its key as two files on a node.

    Attributes:
        identity: The identity in `lab.pki.identities` to which they belong.
        certificate: The path of the certificate.
        key: The path of the key.
        restarts: The service must restart to see a renewed certificate or key.
    """

    identity: str
    certificate: str
    key: str
    restarts: bool = True

    @classmethod
    def of(cls, identity: str, *, folder: str, name: str | None = None) -> "KeyPair":
        """Return the pair of an identity as `NAME.crt` and `NAME.key` in a folder.

        Args:
            identity: The identity.
            folder: The folder on the node.
            name: The name of both files. Defaults to the identity.
        """
        stem = f"{folder}/{name or identity}"
        return cls(identity=identity, certificate=f"{stem}.crt", key=f"{stem}.key")

    @property
    def files(self) -> dict[str, File]:
        """The two files by path. Only root can read them."""
        return {
            path: File(content=Credential(identity=self.identity, part=part), restarts=self.restarts)
            for path, part in ((self.certificate, Part.CERTIFICATE), (self.key, Part.KEY))
        }


def authority_file(authority: Authority = Authority.KUBERNETES) -> File:
    """Return a file with the trusted certificates of an authority.

    It is not secret, so every user of the node can read it.
    """
    return File(content=Credential(identity=authority_identity(authority), part=Part.CERTIFICATE), mode=0o644)
