"""The certificate authorities, and every certificate that `lab.pki` lists."""

import hashlib
import ssl
from dataclasses import dataclass

import pulumi
import pulumi_tls as tls

from lab.bootstrap import token
from lab.files import Credential, Part
from lab.pki import BOOTSTRAP_TOKENS, SERVICE_ACCOUNTS, Authority, Identity, authority_identity, identities
from lab.spec import Spec

CURVE = "P256"


@dataclass(frozen=True, kw_only=True)
class PkiArgs:
    """spec: the lab; its certificates and how long they live follow from it."""

    spec: Spec


class Pki(pulumi.ComponentResource):
    """Makes keys and certificates, and hands out their PEM texts by the names that files refer to them by.

    A certificate within its renewal time is signed anew by the next `pulumi up`, with the key it had.
    """

    def __init__(self, name: str, args: PkiArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:pki:Pki", name, None, opts)
        self._spec = args.spec
        self._keys: dict[str, tls.PrivateKey] = {}
        self._certificates: dict[str, pulumi.Output[str]] = {}
        for authority in Authority:
            self._add_authority(authority)
        self._key(SERVICE_ACCOUNTS)
        if args.spec.tls_bootstrap:
            self._key(BOOTSTRAP_TOKENS)
        for identity_name, identity in identities(args.spec).items():
            self._add(identity_name, identity)
        self.register_outputs({"authority": self.authority})

    @property
    def authority(self) -> pulumi.Output[str]:
        """The certificate of the cluster's authority, PEM."""
        return self._certificates[authority_identity(Authority.KUBERNETES)]

    def text(self, credential: Credential) -> pulumi.Output[str]:
        """The PEM text of a credential, or the token; keys and tokens are secret."""
        if credential.part is Part.TOKEN:
            return self._keys[BOOTSTRAP_TOKENS].private_key_pem.apply(lambda key: token(key, credential.identity))
        if credential.part is Part.KEY:
            return self._keys[credential.identity].private_key_pem
        return self._certificates[credential.identity]

    def fingerprint(self, credential: Credential) -> pulumi.Output[str]:
        """What a credential is told apart by, without telling what it is."""
        if credential.part is Part.TOKEN:
            return self._keys[BOOTSTRAP_TOKENS].public_key_fingerprint_sha256
        if credential.part is Part.KEY:
            return self._keys[credential.identity].public_key_fingerprint_sha256
        return self._certificates[credential.identity].apply(_certificate_fingerprint)

    def _key(self, name: str) -> tls.PrivateKey:
        key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve=CURVE, opts=pulumi.ResourceOptions(parent=self))
        self._keys[name] = key
        return key

    def _add_authority(self, authority: Authority) -> None:
        name = authority_identity(authority)
        certificate = tls.SelfSignedCert(
            name,
            private_key_pem=self._key(name).private_key_pem,
            is_ca_certificate=True,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            validity_period_hours=self._spec.certificates.authority_validity,
            early_renewal_hours=self._spec.certificates.renewal,
            set_subject_key_id=True,
            set_authority_key_id=True,
            subject=tls.SelfSignedCertSubjectArgs(common_name=f"{self._spec.name} {authority} CA"),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._certificates[name] = certificate.cert_pem

    def _add(self, name: str, identity: Identity) -> None:
        authority = authority_identity(identity.authority)
        request = tls.CertRequest(
            name,
            private_key_pem=self._key(name).private_key_pem,
            dns_names=list(identity.dns_names) or None,
            ip_addresses=[str(address) for address in identity.addresses] or None,
            subject=tls.CertRequestSubjectArgs(
                common_name=identity.common_name, organization=identity.organization or None
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        certificate = tls.LocallySignedCert(
            name,
            ca_private_key_pem=self._keys[authority].private_key_pem,
            ca_cert_pem=self._certificates[authority],
            cert_request_pem=request.cert_request_pem,
            allowed_uses=["digital_signature", *identity.uses],
            validity_period_hours=self._spec.certificates.validity,
            early_renewal_hours=self._spec.certificates.renewal,
            set_subject_key_id=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._certificates[name] = certificate.cert_pem


def _certificate_fingerprint(pem: str) -> str:
    return f"SHA256:{hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()}"
