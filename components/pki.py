"""The certificate authorities, and every certificate that `lab.pki` lists."""

import hashlib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pulumi
import pulumi_tls as tls

from lab.certificates import CERTIFICATE_LABEL, PrivateKey, key_id, pem_blocks, pem_bundle, renewal_notice
from lab.node.bootstrap import token
from lab.node.encryption import encryption_key
from lab.node.service import Credential, Part
from lab.pki import (
    BOOTSTRAP_TOKENS,
    ENCRYPTION,
    SERVICE_ACCOUNTS,
    Authority,
    Identity,
    authority_common_name,
    authority_identity,
    issuer_identity,
    issuer_keys,
)
from lab.rotation import rotation_inputs
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
class Secret:
    """A private key or another secret.

    Attributes:
        text: The key as PEM, or the secret's text; secret.
        fingerprint: Identifies the key without revealing it.
    """

    text: pulumi.Output[str]
    fingerprint: pulumi.Output[str]


class Pki(pulumi.ComponentResource):
    """Creates keys and certificates or uses given ones, and returns them by the names that rendered files refer to.

    The next `pulumi up` signs a certificate within its renewal time again, with the same key.
    """

    def __init__(self, name: str, args: PkiArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("hardway:pki:Pki", name, rotation_inputs(args.spec) or None, opts)
        self._spec = args.spec
        self._keys: dict[str, Secret] = {}
        self._public_keys: dict[str, pulumi.Output[str]] = {}
        self._certificates: dict[str, pulumi.Output[str]] = {}
        self._starts: dict[str, pulumi.Output[str]] = {}
        self._signing_certificates: dict[str, pulumi.Output[str]] = {}
        self._ends: list[pulumi.Output[str]] = []
        self._fingerprints: dict[str, pulumi.Output[str]] = {}
        if args.spec.join:
            self._use_authority(args.spec.join)
        else:
            self._create_authorities()
        given = args.spec.join.certificates if args.spec.join else {}
        for identity_name, identity in args.identities.items():
            if pair := given.get(identity.common_name):
                self._use_certificate(identity_name, pair)
            else:
                self._create_certificate(identity_name, identity)
        pulumi.Output.all(*self._ends).apply(self._announce_renewal)
        self.register_outputs({"authority": self.authority})

    @property
    def authority(self) -> pulumi.Output[str]:
        """The certificates of the cluster's CA that are trusted, PEM."""
        return self._certificates[authority_identity(Authority.KUBERNETES)]

    @property
    def authority_key(self) -> pulumi.Output[str]:
        """The key with which the cluster's CA issues, PEM; secret."""
        return self._keys[authority_identity(Authority.KUBERNETES)].text

    def text(self, credential: Credential) -> pulumi.Output[str]:
        """Return a credential as PEM, a token, or an encryption key in base64. Keys and tokens are secret."""
        if credential.part is Part.ENCRYPTION_KEY:
            return self._keys[ENCRYPTION].text.apply(lambda key: encryption_key(key, credential.identity))
        if credential.part is Part.TOKEN:
            text = self._keys[BOOTSTRAP_TOKENS].text
            return text if self._spec.join else text.apply(lambda key: token(key, credential.identity))
        if credential.part is Part.KEY:
            return self._keys[credential.identity].text
        if credential.part is Part.PUBLIC_KEY:
            return self._public_keys[credential.identity]
        if credential.part is Part.KEY_ID:
            return self._public_keys[credential.identity].apply(key_id)
        if credential.part is Part.ISSUING_CERTIFICATE:
            return self._signing_certificates[credential.identity]
        return self._certificates[credential.identity]

    def valid_from(self, credential: Credential) -> pulumi.Output[str]:
        """Return the time from which a certificate is valid, as in RFC 3339; empty for a given certificate."""
        return self._starts.get(credential.identity) or pulumi.Output.from_input("")

    def fingerprint(self, credential: Credential) -> pulumi.Output[str]:
        """Return the text that identifies a credential without revealing it; not secret. A public key is shown."""
        if credential.part is Part.CERTIFICATE:
            return self._certificate_fingerprint(credential.identity)
        if credential.part is Part.ISSUING_CERTIFICATE:
            return pulumi.Output.unsecret(self.text(credential).apply(_fingerprint_of_pem))
        if credential.part in (Part.PUBLIC_KEY, Part.KEY_ID):
            return pulumi.Output.unsecret(self.text(credential))
        if credential.part is Part.ENCRYPTION_KEY:
            return pulumi.Output.unsecret(self.text(credential).apply(_fingerprint_of_text))
        return self._keys[BOOTSTRAP_TOKENS if credential.part is Part.TOKEN else credential.identity].fingerprint

    def _announce_renewal(self, ends: Sequence[str | None]) -> None:
        now, lifetimes = datetime.now(UTC), self._spec.certificates
        if begins := [
            begin for end in ends if end and (begin := lifetimes.next_renewal(datetime.fromisoformat(end), now))
        ]:
            pulumi.warn(renewal_notice(len(begins), min(begins)))

    def _certificate_fingerprint(self, name: str) -> pulumi.Output[str]:
        # Computed only once for each certificate: every node has those of the authorities.
        if name not in self._fingerprints:
            fingerprint = self._certificates[name].apply(_fingerprint_of_pem)
            self._fingerprints[name] = pulumi.Output.unsecret(fingerprint)
        return self._fingerprints[name]

    def _create_authorities(self) -> None:
        for authority in Authority:
            self._create_authority(authority)
        for key in issuer_keys(self._spec, SERVICE_ACCOUNTS):
            self._create_key(issuer_identity(SERVICE_ACCOUNTS, key))
        self._keys[SERVICE_ACCOUNTS] = self._keys[
            issuer_identity(SERVICE_ACCOUNTS, issuer_keys(self._spec, SERVICE_ACCOUNTS)[0])
        ]
        self._create_key(ENCRYPTION)
        if self._spec.tls_bootstrap:
            self._create_key(BOOTSTRAP_TOKENS)

    def _use_authority(self, cluster: Join) -> None:
        name = authority_identity(Authority.KUBERNETES)
        self._certificates[name] = pulumi.Output.from_input(pem_bundle(cluster.authorities))
        if cluster.signer:
            self._signing_certificates[name] = pulumi.Output.from_input(cluster.signer.certificate.text)
            self._keys[name] = _given_key(cluster.signer.key)
        if cluster.bootstrap_token:
            self._keys[BOOTSTRAP_TOKENS] = _given_secret(cluster.bootstrap_token, cluster.bootstrap_token.encode())

    def _use_certificate(self, name: str, pair: GivenCertificate) -> None:
        self._certificates[name] = pulumi.Output.from_input(pem_bundle(pair.chain))
        self._keys[name] = _given_key(pair.key)

    def _create_key(self, name: str) -> Secret:
        key = tls.PrivateKey(name, algorithm="ECDSA", ecdsa_curve=CURVE, opts=pulumi.ResourceOptions(parent=self))
        fingerprint = pulumi.Output.unsecret(key.public_key_fingerprint_sha256)
        self._keys[name] = Secret(text=key.private_key_pem, fingerprint=fingerprint)
        self._public_keys[name] = key.public_key_pem
        return self._keys[name]

    def _create_authority(self, authority: Authority) -> None:
        """Create the certificates of an authority. The order of the bundle does not depend on which one issues."""
        name, spec = authority_identity(authority), self._spec
        created = {key: self._create_authority_certificate(authority, key) for key in sorted(issuer_keys(spec, name))}
        issuing = issuer_keys(spec, name)[0]
        self._keys[name] = self._keys[issuer_identity(name, issuing)]
        self._signing_certificates[name] = created[issuing].cert_pem
        self._starts[name] = created[issuing].validity_start_time
        texts = [certificate.cert_pem for certificate in created.values()]
        self._certificates[name] = texts[0] if len(texts) == 1 else pulumi.Output.concat(*texts)

    def _create_authority_certificate(self, authority: Authority, key: str) -> tls.SelfSignedCert:
        name = issuer_identity(authority_identity(authority), key)
        certificate = tls.SelfSignedCert(
            name,
            private_key_pem=self._create_key(name).text,
            is_ca_certificate=True,
            allowed_uses=["cert_signing", "crl_signing", "digital_signature"],
            validity_period_hours=self._spec.certificates.authority_validity,
            early_renewal_hours=self._spec.certificates.renewal,
            set_subject_key_id=True,
            set_authority_key_id=True,
            subject=tls.SelfSignedCertSubjectArgs(common_name=authority_common_name(self._spec, authority, key)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._ends.append(certificate.validity_end_time)
        return certificate

    def _create_certificate(self, name: str, identity: Identity) -> None:
        authority = authority_identity(identity.authority)
        request = tls.CertRequest(
            name,
            private_key_pem=self._create_key(name).text,
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
            ca_cert_pem=self._signing_certificates[authority],
            cert_request_pem=request.cert_request_pem,
            allowed_uses=["digital_signature", *identity.uses],
            validity_period_hours=self._spec.certificates.validity,
            early_renewal_hours=self._spec.certificates.renewal,
            set_subject_key_id=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._certificates[name] = certificate.cert_pem
        self._starts[name] = certificate.validity_start_time
        self._ends.append(certificate.validity_end_time)


def _given_key(key: PrivateKey) -> Secret:
    return _given_secret(key.text, key.public_key)


def _given_secret(text: str, public: bytes) -> Secret:
    fingerprint = f"SHA256:{hashlib.sha256(public).hexdigest()}"
    return Secret(text=pulumi.Output.secret(text), fingerprint=pulumi.Output.from_input(fingerprint))


def _fingerprint_of_text(text: str) -> str:
    return f"SHA256:{hashlib.sha256(text.encode()).hexdigest()}"


def _fingerprint_of_pem(text: str) -> str:
    """Return the fingerprint of all certificates in a text together."""
    der = b"".join(map(ssl.PEM_cert_to_DER_cert, pem_blocks(text, CERTIFICATE_LABEL)))
    return f"SHA256:{hashlib.sha256(der).hexdigest()}"
