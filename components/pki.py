"""The certificate authorities, and every certificate that `lab.pki` lists."""

import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

from lab.certificates import CERTIFICATE, PrivateKey, blocks, joined
from lab.node.bootstrap import token
from lab.node.service import Credential, Part
from lab.pki import BOOTSTRAP_TOKENS, SERVICE_ACCOUNTS, Authority, Identity, authority_identity
from lab.spec import GivenCertificate, Join, Spec

CURVE = "P256"


@dataclass(frozen=True, kw_only=True)
class PkiArgs:
    """Arguments of `Pki`.

    Attributes:
        spec: The lab.
        identities: Certificate name to the identity that it is issued for.
    """

    spec: Spec
    identities: Mapping[str, Identity]


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key, or what else is secret. text: as PEM; secret. fingerprint: what it is told apart by."""

    text: pulumi.Output[str]
    fingerprint: pulumi.Output[str]


class Pki(pulumi.ComponentResource):
    """Makes keys and certificates, or takes those that are given.

    It hands out their PEM texts by the names that files refer to them by.
    A certificate within its renewal time is signed anew by the next `pulumi up`, with the key it had.
    """

    def __init__(self, name: str, args: PkiArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:pki:Pki", name, None, opts)
        self._spec = args.spec
        self._keys: dict[str, Key] = {}
        self._certificates: dict[str, pulumi.Output[str]] = {}
        self._signing: dict[str, pulumi.Output[str]] = {}
        if args.spec.join:
            self._take_authority(args.spec.join)
        else:
            self._make_authorities()
        given = args.spec.join.certificates if args.spec.join else {}
        for identity_name, identity in args.identities.items():
            if pair := given.get(identity.common_name):
                self._take(identity_name, pair)
            else:
                self._add(identity_name, identity)
        self.register_outputs({"authority": self.authority})

    @property
    def authority(self) -> pulumi.Output[str]:
        """The certificate of the cluster's authority, PEM; all of them where several are given."""
        return self._certificates[authority_identity(Authority.KUBERNETES)]

    @property
    def authority_key(self) -> pulumi.Output[str]:
        """The key of the cluster's authority, PEM; secret."""
        return self._keys[authority_identity(Authority.KUBERNETES)].text

    def text(self, credential: Credential) -> pulumi.Output[str]:
        """The PEM text of a credential, or the token; keys and tokens are secret."""
        if credential.part is Part.TOKEN:
            text = self._keys[BOOTSTRAP_TOKENS].text
            return text if self._spec.join else text.apply(lambda key: token(key, credential.identity))
        if credential.part is Part.KEY:
            return self._keys[credential.identity].text
        return self._certificates[credential.identity]

    def fingerprint(self, credential: Credential) -> pulumi.Output[str]:
        """What a credential is told apart by, without telling what it is."""
        if credential.part is Part.TOKEN:
            return self._keys[BOOTSTRAP_TOKENS].fingerprint
        if credential.part is Part.KEY:
            return self._keys[credential.identity].fingerprint
        return self._certificates[credential.identity].apply(_certificate_fingerprint)

    def _make_authorities(self) -> None:
        for authority in Authority:
            self._add_authority(authority)
        self._key(SERVICE_ACCOUNTS)
        if self._spec.tls_bootstrap:
            self._key(BOOTSTRAP_TOKENS)

    def _take_authority(self, cluster: Join) -> None:
        name = authority_identity(Authority.KUBERNETES)
        self._certificates[name] = pulumi.Output.from_input(joined(cluster.authorities))
        if cluster.signer:
            self._signing[name] = pulumi.Output.from_input(cluster.signer.certificate.text)
            self._keys[name] = _given_key(cluster.signer.key)
        if cluster.bootstrap_token:
            self._keys[BOOTSTRAP_TOKENS] = _given(cluster.bootstrap_token, cluster.bootstrap_token.encode())

    def _take(self, name: str, pair: GivenCertificate) -> None:
        self._certificates[name] = pulumi.Output.from_input(joined(pair.chain))
        self._keys[name] = _given_key(pair.key)

    def _key(self, name: str) -> Key:
        key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve=CURVE, opts=pulumi.ResourceOptions(parent=self))
        self._keys[name] = Key(text=key.private_key_pem, fingerprint=key.public_key_fingerprint_sha256)
        return self._keys[name]

    def _add_authority(self, authority: Authority) -> None:
        name = authority_identity(authority)
        certificate = tls.SelfSignedCert(
            name,
            private_key_pem=self._key(name).text,
            is_ca_certificate=True,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            validity_period_hours=self._spec.certificates.authority_validity,
            early_renewal_hours=self._spec.certificates.renewal,
            set_subject_key_id=True,
            set_authority_key_id=True,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"{self._spec.name} {authority} CA"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._certificates[name] = self._signing[name] = certificate.cert_pem

    def _add(self, name: str, identity: Identity) -> None:
        authority = authority_identity(identity.authority)
        request = tls.CertRequest(
            name,
            private_key_pem=self._key(name).text,
            dns_names=list(identity.dns_names) or None,
            ip_addresses=[str(address) for address in identity.addresses] or None,
            subject=tls.CertRequestSubjectArgs(
                common_name=identity.common_name, organization=identity.organization or None
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        certificate = tls.LocallySignedCert(
            name,
            ca_private_key_pem=self._keys[authority].text,
            ca_cert_pem=self._signing[authority],
            cert_request_pem=request.cert_request_pem,
            allowed_uses=["digital_signature", *identity.uses],
            validity_period_hours=self._spec.certificates.validity,
            early_renewal_hours=self._spec.certificates.renewal,
            set_subject_key_id=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._certificates[name] = certificate.cert_pem


def _given_key(key: PrivateKey) -> Key:
    return _given(key.text, key.public_key)


def _given(text: str, told_by: bytes) -> Key:
    fingerprint = f"SHA256:{hashlib.sha256(told_by).hexdigest()}"
    return Key(text=pulumi.Output.secret(text), fingerprint=pulumi.Output.from_input(fingerprint))


def _certificate_fingerprint(text: str) -> str:
    """That of a certificate, or that of all of them in a text together."""
    der = b"".join(map(ssl.PEM_cert_to_DER_cert, blocks(text, CERTIFICATE)))
    return f"SHA256:{hashlib.sha256(der).hexdigest()}"
