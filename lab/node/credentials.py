"""Credentials as files on a node: where a certificate and its key stand."""

from dataclasses import dataclass

from lab.node.service import Credential, File, Part
from lab.pki import Authority, authority_identity


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """The paths of a certificate and its key on a node, and the identity that they are of.

    restarts: whether who reads them must be restarted to see a change of them.
    """

    identity: str
    certificate: str
    key: str
    restarts: bool = True

    @classmethod
    def of(cls, identity: str, *, folder: str, name: str | None = None) -> "KeyPair":
        """The pair of an identity in a folder, as `NAME.crt` and `NAME.key`; `name` defaults to the identity's."""
        stem = f"{folder}/{name or identity}"
        return cls(identity=identity, certificate=f"{stem}.crt", key=f"{stem}.key")

    @property
    def files(self) -> dict[str, File]:
        """The two files, readable by root alone."""
        return {
            path: File(content=Credential(identity=self.identity, part=part), restarts=self.restarts)
            for path, part in ((self.certificate, Part.CERTIFICATE), (self.key, Part.KEY))
        }


def authority_file(authority: Authority = Authority.KUBERNETES) -> File:
    """The certificate of an authority as a file: no secret, so everybody on the node may read it."""
    return File(content=Credential(identity=authority_identity(authority), part=Part.CERTIFICATE), mode=0o644)
