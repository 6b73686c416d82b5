"""The rotation of certificate authorities and of the service account key: the order of its steps, and their proofs.

A new key is first trusted everywhere, then issues, and then the old one is dropped. The stack file names the keys of
each issuer, and the first one issues. `docs/security.md` shows the steps.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lab.config.issuers import AUTHORITIES
from lab.node.paths import SERVICE_ACCOUNT_KEYS
from lab.node.service import Composition, Credential, Part, Service
from lab.pki import (
    ISSUERS,
    SERVICE_ACCOUNTS,
    Authority,
    Identity,
    authority_common_name,
    authority_identity,
    is_rotated,
    issuer_keys,
)
from lab.spec import Node, Spec
from system.errors import HardwayError

INPUT = "issuers"
"""The input of the PKI that records the keys of all issuers that have others than their default key."""

_MAX_SHOWN = 10
"""The number of reasons in a message."""


class RotationError(HardwayError):
    """A step is not possible yet. The message names the reason and the way."""


def rotation_inputs(spec: Spec) -> dict[str, Any]:
    """Return the input of the PKI that the state records. Empty before the first rotation."""
    rotated = {issuer: list(issuer_keys(spec, issuer)) for issuer in ISSUERS if is_rotated(spec, issuer)}
    return {INPUT: rotated} if rotated else {}


@dataclass(frozen=True, kw_only=True)
class Step:
    """A change of the keys of one issuer.

    Attributes:
        issuer: The issuer, one of `lab.pki.ISSUERS`.
        before: The names of its keys that the stack had last.
        after: The names that the configuration has.
    """

    issuer: str
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def issues_with(self) -> str | None:
        """The name of the key that issues from now on. None if it did so before."""
        return self.after[0] if self.after[0] != self.before[0] else None

    @property
    def dropped(self) -> tuple[str, ...]:
        """The names of the keys that are trusted no longer."""
        return tuple(key for key in self.before if key not in self.after)

    @property
    def value(self) -> str:
        """The key of the configuration, and the value that it has."""
        return f"hardway:{_configuration_key(self.issuer)} = {_listed(self.after)}"


def steps(spec: Spec, recorded: Mapping[str, Any]) -> list[Step]:
    """Return the changes of the keys of all issuers.

    Args:
        spec: The lab.
        recorded: The inputs of the PKI in the state.
    """
    before = {issuer: tuple(recorded.get(INPUT, {}).get(issuer, (default,))) for issuer, default in ISSUERS.items()}
    after = {issuer: issuer_keys(spec, issuer) for issuer in ISSUERS}
    return [
        Step(issuer=issuer, before=before[issuer], after=after[issuer])
        for issuer in ISSUERS
        if before[issuer] != after[issuer]
    ]


def ensure_in_order(step: Step) -> None:
    """Check that no step is left out.

    Raises:
        RotationError: The key that shall issue was not trusted before, or the one that issued is not trusted any more.
    """
    first, issuing = step.after[0], step.before[0]
    if first not in step.before:
        raise RotationError(
            f"{step.value}: {first} must be trusted everywhere before it issues. Set {_listed((*step.before, first))} "
            "first, and run `hardway up`"
        )
    if issuing not in step.after:
        others = (key for key in step.before if key != first)
        raise RotationError(
            f"{step.value}: {issuing} still issues, so it cannot be dropped. Set {_listed((first, *others))} first, "
            "and run `hardway up`"
        )


@dataclass(frozen=True, kw_only=True)
class IssuerFile:
    """A file on a node that depends on an issuer.

    Attributes:
        service: The service that reads it.
        path: The path.
        issuer: The issuer, one of `lab.pki.ISSUERS`.
    """

    service: str
    path: str
    issuer: str


@dataclass(frozen=True, kw_only=True)
class NodeFiles:
    """The files of a node that depend on issuers.

    Attributes:
        trusted: The files with trusted certificates of an authority, or with the public keys of service accounts.
        issued: The files with a certificate of an authority.
    """

    trusted: tuple[IssuerFile, ...]
    issued: tuple[IssuerFile, ...]

    @property
    def paths(self) -> list[str]:
        """The paths of all files, each once."""
        return list(dict.fromkeys(file.path for file in (*self.trusted, *self.issued)))


def node_files(spec: Spec, node: Node, services: Iterable[Service], identities: Mapping[str, Identity]) -> NodeFiles:
    """Return the files of a node's services that depend on issuers.

    Args:
        spec: The lab.
        node: The node.
        services: The services of the node.
        identities: Certificate name to the identity that it is issued for.
    """
    trusted, issued = [], []
    authorities = {authority_identity(authority) for authority in Authority}
    for service in services:
        for path, file in service.files.items():
            for credential in _credentials(file.content):
                identity = credential.identity
                if credential.part is Part.CERTIFICATE and identity in authorities:
                    trusted.append(IssuerFile(service=service.name, path=path, issuer=identity))
                elif credential.part is Part.CERTIFICATE and identity in identities:
                    authority = authority_identity(identities[identity].authority)
                    issued.append(IssuerFile(service=service.name, path=path, issuer=authority))
        if service.name == "kube-apiserver":
            trusted.append(IssuerFile(service=service.name, path=SERVICE_ACCOUNT_KEYS, issuer=SERVICE_ACCOUNTS))
        if service.name == "kubelet" and spec.tls_bootstrap:
            path = spec.layout.of(node).kubelet_client_certificate
            issued.append(IssuerFile(service="kubelet", path=path, issuer=authority_identity(Authority.KUBERNETES)))
    return NodeFiles(trusted=tuple(trusted), issued=tuple(issued))


def _credentials(content: str | Credential | Composition) -> tuple[Credential, ...]:
    if isinstance(content, Composition):
        return content.credentials
    return (content,) if isinstance(content, Credential) else ()


@dataclass(frozen=True, kw_only=True)
class Token:
    """A service account token.

    Attributes:
        holder: The pod or the Secret that has it.
        key_id: The `kid` of the key that signed it.
    """

    holder: str
    key_id: str


@dataclass(frozen=True, kw_only=True)
class InUse:
    """The certificates and tokens that were found: see `assets/node/credentials-in-use`.

    Attributes:
        files: Path to the certificates in the file, or to the names and IDs of its public keys. Empty for an absent
            file.
        tokens: The tokens that pods have, and those in Secrets.
        published: Namespace to the certificates in its ConfigMap kube-root-ca.crt.
    """

    files: Mapping[str, str]
    tokens: tuple[Token, ...] = ()
    published: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> "InUse":
        """Read the document that the program on the node prints."""
        return cls(
            files=document["files"],
            tokens=tuple(Token(holder=token["holder"], key_id=token["kid"]) for token in document["tokens"]),
            published=document.get("published", {}),
        )


def ensure_proven(
    spec: Spec,
    step: Step,
    nodes: Mapping[str, tuple[NodeFiles, InUse]],
    kubeconfigs: Mapping[str, str],
    now: datetime,
) -> None:
    """Check that a key is trusted everywhere before it issues, and that nothing depends on a key that is dropped.

    Args:
        spec: The lab.
        step: The step.
        nodes: The files of each existing node, and its certificates and tokens.
        kubeconfigs: Path to client certificate of each kubeconfig that `hardway access` has written.
        now: The current time, in UTC.

    Raises:
        RotationError: A key is not trusted somewhere, or something depends on a dropped one.
    """
    if step.issues_with:
        reasons = list(_without_trust(spec, step, nodes))
        others = (key for key in step.after if key != step.before[0])
        way = f"Set {_listed((step.before[0], *others))}, run `hardway up` until it succeeds, and then try again"
        _refuse(step, f"{step.issues_with} is not trusted everywhere", reasons, way)
    if step.dropped:
        names = " and ".join(step.dropped)
        _refuse(
            step,
            f"{names} cannot be dropped yet",
            list(_dependents(spec, step, nodes, kubeconfigs, now)),
            f"Keep {names} at the end until then",
        )


def _refuse(step: Step, problem: str, reasons: Sequence[str], way: str) -> None:
    if not reasons:
        return
    shown = [*reasons[:_MAX_SHOWN], *([f"and {len(reasons) - _MAX_SHOWN} more"] if len(reasons) > _MAX_SHOWN else [])]
    lines = "".join(f"\n  {reason}" for reason in shown)
    raise RotationError(f"{step.value}: {problem}. Nothing was changed:{lines}\n{way}")


def _without_trust(spec: Spec, step: Step, nodes: Mapping[str, tuple[NodeFiles, InUse]]) -> Iterator[str]:
    """Yield everything that does not trust the key that shall issue."""
    key = step.after[0]
    for node, (files, found) in nodes.items():
        for file in files.trusted:
            if file.issuer == step.issuer and key not in _trusted_keys(spec, step, found.files.get(file.path, "")):
                yield f"{file.service} on {node} does not trust it: {file.path}"
    if step.issuer == authority_identity(Authority.KUBERNETES):
        for _, found in nodes.values():
            for namespace, text in found.published.items():
                if key not in _trusted_keys(spec, step, text):
                    yield f"pods in the namespace {namespace} do not trust it: ConfigMap kube-root-ca.crt"


def _trusted_keys(spec: Spec, step: Step, text: str) -> set[str]:
    """Return the names of the keys that a file trusts."""
    if step.issuer == SERVICE_ACCOUNTS:
        return set(_key_ids(text).values())
    from lab.config.x509 import certificates

    found = {certificate.common_name for certificate in certificates(text)} if text else set()
    return {key for key in (*step.before, *step.after) if _common_name(spec, step.issuer, key) in found}


def _key_ids(text: str) -> dict[str, str]:
    """Return the IDs of public keys in a file, and their names: see `lab.node.control_plane`."""
    return {words[1]: words[0] for line in text.splitlines() if len(words := line.split()) == 2}


def _dependents(
    spec: Spec,
    step: Step,
    nodes: Mapping[str, tuple[NodeFiles, InUse]],
    kubeconfigs: Mapping[str, str],
    now: datetime,
) -> Iterator[str]:
    """Yield everything that depends on a key that is dropped, and how it gets another one."""
    if step.issuer == SERVICE_ACCOUNTS:
        yield from _old_tokens(step, nodes)
        return
    from lab.config.x509 import certificates, issuer_name

    dropped = {_common_name(spec, step.issuer, key): key for key in step.dropped}
    for node, (files, found) in nodes.items():
        for file in files.issued:
            text = found.files.get(file.path, "")
            if file.issuer == step.issuer and text and (key := dropped.get(issuer_name(text))):
                remedy = "run `hardway up` before"
                if spec.tls_bootstrap and file.path.endswith("-current.pem"):
                    remedy = (
                        f"its kubelet renews it by itself until {certificates(text)[0].not_after:%Y-%m-%d %H:%M} UTC"
                    )
                yield f"{file.service} on {node} has a certificate of {key}: {file.path}; {remedy}"
    if step.issuer == authority_identity(Authority.KUBERNETES):
        for path, text in kubeconfigs.items():
            if (key := dropped.get(issuer_name(text))) and (end := certificates(text)[0].not_after) > now:
                user = certificates(text)[0].common_name
                yield (
                    f"{path} has a certificate of {key} until {end:%Y-%m-%d %H:%M} UTC; delete it, or run "
                    f"hardway access --user {user}"
                )


def _old_tokens(step: Step, nodes: Mapping[str, tuple[NodeFiles, InUse]]) -> Iterator[str]:
    """Yield every token of a dropped key.

    An API server that never got the key's ID has never accepted it, so no token is from it. Without any IDs, only the
    default key can have signed.
    """
    ids: dict[str, str] = {}
    for _, found in nodes.values():
        ids |= _key_ids(found.files.get(SERVICE_ACCOUNT_KEYS, ""))
    for node, (_, found) in nodes.items():
        for token in found.tokens:
            key = ids.get(token.key_id) if ids else ISSUERS[SERVICE_ACCOUNTS]
            if key not in step.dropped:
                continue
            remedy = (
                "delete the Secret, or its data.token, which is then signed again"
                if token.holder.startswith("Secret ")
                else f"the kubelet on {node} replaces it within 24 hours, or a minute after: systemctl restart kubelet"
            )
            yield f"{token.holder} has a token of {key}; {remedy}"


def _common_name(spec: Spec, issuer: str, key: str) -> str:
    authority = next(each for each in Authority if authority_identity(each) == issuer)
    return authority_common_name(spec, authority, key)


def _configuration_key(issuer: str) -> str:
    keys = {name: f"certificateAuthorities.{key}" for key, name in AUTHORITIES.items()}
    return keys.get(issuer, "serviceAccountKeys")


def _listed(keys: Iterable[str]) -> str:
    return f"[{', '.join(keys)}]"
