"""The configuration of a lab whose workers join an existing cluster.

Pulumi.yaml declares all of it secret. The messages therefore show only the name, usages and validity period of a
certificate.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, get_args

import yaml

from lab.certificates import CLIENT_AUTH, SERVER_AUTH, Certificate, Claim, PrivateKey
from lab.config.problems import Problems
from lab.config.schema import Converter, optional, project
from lab.config.values import Configuration, JoinValues, NodeEntry, NodeValues
from lab.pki import KUBE_PROXY_USER, NODES_GROUP, kubelet_user
from lab.spec import GivenCertificate, Join

ControlPlaneKey = Literal[
    "emulate",
    "apiAddress",
    "apiServerNames",
    "etcdFlags",
    "apiServerFlags",
    "controllerManagerFlags",
    "schedulerFlags",
    "auditPolicy",
    "authentication",
    "authorization",
    "admission",
]

CONTROL_PLANE_KEYS: tuple[ControlPlaneKey, ...] = get_args(ControlPlaneKey)
"""The keys that have no effect without control planes."""

CREDENTIAL_KEYS = ("caKey", "bootstrapToken", "certificates")
"""The keys that provide the workers' certificates. `caKey` excludes the others."""

EXTERNAL_FIELDS = {"certificate-authority", "client-certificate", "client-key", "tokenFile", "exec", "auth-provider"}
"""The fields of a kubeconfig that refer to files or programs outside it
(https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/)."""

TIME_FORMAT = "%Y-%m-%d %H:%M"
"""The format of a time in messages."""

RequiredClaims = Mapping[Claim, set[str]]
"""The values that a certificate must claim. It may claim others too."""

CLAIM_REASONS: Mapping[Claim, str] = {
    Claim.USAGE: "the service needs it",
    Claim.ORGANIZATION: "API servers identify the kubelet of a node by this group",
    Claim.NAME: "API servers connect to a kubelet by its name or by its address, depending on their flags",
}
"""The reason for each claim that a certificate needs."""


def _endpoint(text: str) -> str:
    url = re.fullmatch(r"https://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/?", text)
    if not url or not 0 < int(url[1]) < 65536:
        raise ValueError("must be the URL of an API server with its port and no path, such as https://10.240.0.10:6443")
    return text.removesuffix("/")


def _bootstrap_token(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", text):
        raise ValueError("must be a bootstrap token: 6 and 16 characters a-z and 0-9 with a dot between them")
    return text


def _kubeconfig(text: str) -> str:
    try:
        document = yaml.safe_load(text)
        entries = [entry[kind] for kind in ("cluster", "user") for entry in document[f"{kind}s"]]
        external = EXTERNAL_FIELDS & {name for entry in entries for name in entry}
    except (yaml.YAMLError, KeyError, TypeError):
        raise ValueError("must be a kubeconfig: YAML with clusters, users and contexts") from None
    if external:
        raise ValueError(
            f"has the fields {', '.join(sorted(external))}, which refer to files or programs that a worker does not "
            "have; create a kubeconfig that contains everything with `kubectl config view --minify --flatten`, or in a "
            "Hardway lab with `hardway access --user NAME --group hardway-cluster-admins`"
        )
    return text


# The import of lab.config.x509 takes 25 ms, and only a stack with certificates needs it.


def _certificates(text: str) -> tuple[Certificate, ...]:
    from lab.config.x509 import certificates

    return certificates(text)


def _private_key(text: str) -> PrivateKey:
    from lab.config.x509 import private_key

    return private_key(text)


def _has_chain(given: GivenCertificate, authorities: Sequence[Certificate]) -> bool:
    from lab.config.x509 import has_chain

    return has_chain(given.certificate, authorities, given.chain[1:])


def _authorities(text: str) -> tuple[Certificate, ...]:
    authorities = _certificates(text)
    others = [certificate.common_name or "no name" for certificate in authorities if not certificate.is_authority]
    if others:
        raise ValueError(
            f"contains certificates that may not issue others (by basicConstraints or keyUsage): {', '.join(others)}; "
            "keep only certificates of authorities"
        )
    return authorities


def _given_certificate(fields: Mapping[str, Any]) -> GivenCertificate:
    return GivenCertificate(chain=fields["certificate"], key=fields["key"])


CONVERTERS: Mapping[str, Converter] = {
    "join.endpoint": _endpoint,
    "join.caCertificate": _authorities,
    "join.caKey": optional(_private_key),
    "join.bootstrapToken": optional(_bootstrap_token),
    "join.certificates[].certificate": _certificates,
    "join.certificates[].key": _private_key,
    "join.certificates[]": _given_certificate,
    "join.kubeconfig": optional(_kubeconfig),
}
"""The converters of the keys under `join`."""


def without_default_control_planes(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return values without control planes if the lab joins a cluster and the configuration does not set them.

    The engine passes a program the default of a missing key, so a default counts as missing.
    """
    default = project().schema["controlPlanes"].default
    if values.get("join") and isinstance(values["join"], dict) and values.get("controlPlanes", default) == default:
        return {**values, "controlPlanes": []}
    return values


def check_join(configuration: Configuration, problems: Problems) -> None:
    """Check that the lab either has its own control planes or joins a cluster, and has no keys of the other kind."""
    lab = configuration.lab
    if "join" not in lab:
        return
    control_planes, join = lab.get("controlPlanes"), lab["join"]
    if join is None:
        if control_planes == []:
            problems.add(
                configuration.key("controlPlanes"),
                "is empty; a lab needs at least one control plane, or a cluster to join (see join)",
                [],
            )
        return
    if control_planes:
        problems.add(
            configuration.key("controlPlanes"),
            "cannot be combined with join, because a lab that joins a cluster has no control planes; "
            "remove one of the two",
            [node.get("name") for node in control_planes],
        )
    if lab.get("workers") == []:
        problems.add(configuration.key("workers"), "is empty; a lab that joins a cluster needs a worker", [])
    for name in CONTROL_PLANE_KEYS:
        if lab.get(name):
            problems.add(
                configuration.key(name),
                "configures control planes, but a lab that joins a cluster has none; remove it",
                str(lab[name]),
            )
    if lab.get("tlsBootstrap") and join.get("bootstrapToken", "unknown") is None:
        problems.add(
            configuration.key("tlsBootstrap"), "requires join.bootstrapToken in a lab that joins a cluster", True
        )


@dataclass(frozen=True, kw_only=True)
class _Credentials:
    """The valid credentials of a lab that joins a cluster.

    Attributes:
        authorities: The trusted certificates of authorities.
        authority_key: The private key of one of them, if it is given.
        bootstrap_token: The bootstrap token, if it is given.
        certificates: The given certificates.
    """

    authorities: tuple[Certificate, ...]
    authority_key: PrivateKey | None
    bootstrap_token: str | None
    certificates: tuple[GivenCertificate, ...]

    @property
    def signer(self) -> GivenCertificate | None:
        """The key of the authority and the first certificate that matches it; None without either."""
        key = self.authority_key
        matching = [authority for authority in self.authorities if key and key.matches(authority)]
        return GivenCertificate(chain=(matching[0],), key=key) if key and matching else None


def _credentials(values: JoinValues | None) -> _Credentials | None:
    """Return the credentials; None if the lab joins no cluster or if a credential is invalid."""
    if not values or not values.keys() >= {*CREDENTIAL_KEYS, "caCertificate"}:
        return None
    certificates = [given for given in values["certificates"] if isinstance(given, GivenCertificate)]
    if len(certificates) < len(values["certificates"]):
        return None
    return _Credentials(
        authorities=values["caCertificate"],
        authority_key=values["caKey"],
        bootstrap_token=values["bootstrapToken"],
        certificates=tuple(certificates),
    )


def check_credentials(configuration: Configuration, problems: Problems) -> None:
    """Check that exactly one source provides each worker's certificates, and that given certificates are suitable."""
    credentials = _credentials(configuration.lab.get("join"))
    if credentials is None:
        return
    key = configuration.key("join")
    provided = {
        "caKey": credentials.authority_key,
        "bootstrapToken": credentials.bootstrap_token,
        "certificates": credentials.certificates,
    }
    sources = [name for name in CREDENTIAL_KEYS if provided[name]]
    if not sources:
        problems.add(key, f"has no credentials; set one of {', '.join(CREDENTIAL_KEYS)}")
    elif "caKey" in sources:
        if sources != ["caKey"]:
            others = " and ".join(sources[1:])
            problems.add(
                f"{key}.caKey",
                f"cannot be combined with {others}, because it signs all certificates; remove one of the two",
            )
        if not credentials.signer:
            problems.add(f"{key}.caKey", "matches no certificate in caCertificate; set the key of one of them")
    else:
        # Without kube-proxy, nothing uses its certificate.
        shared = {KUBE_PROXY_USER} if configuration.lab.get("kubeProxyEnabled", True) else set()
        _check_certificates(f"{key}.certificates", credentials, shared, configuration.workers, problems)


def _check_certificates(
    key: str, credentials: _Credentials, shared: Set[str], workers: Sequence[NodeEntry], problems: Problems
) -> None:
    """Check the given certificates: those of the users that all nodes share, and those of the workers' kubelets."""
    kubelets = {
        kubelet_user(node["name"]): _kubelet_claims(node, server_only=credentials.bootstrap_token is not None)
        for _, node in workers
        if "name" in node
    }
    claims: Mapping[str, RequiredClaims] = {user: {Claim.USAGE: {CLIENT_AUTH}} for user in shared} | kubelets
    keys_by_user: dict[str, str] = {}
    for index, given in enumerate(credentials.certificates):
        given_key, user = f"{key}[{index}]", given.certificate.common_name
        if user not in claims:
            problems.add(
                given_key, f"has the common name {user or 'no name'}; the lab uses only {', '.join(sorted(claims))}"
            )
        elif user in keys_by_user:
            problems.add(given_key, f"has the common name {user}, as does {keys_by_user[user]}; remove one of the two")
        _check_certificate(given_key, given, claims.get(user, {}), credentials.authorities, problems)
        keys_by_user.setdefault(user, given_key)
    # Without a serving certificate, a kubelet creates a self-signed one.
    required = shared if credentials.bootstrap_token else claims.keys()
    if missing := required - keys_by_user.keys():
        hint = "; a bootstrap token provides certificates only for kubelets" if credentials.bootstrap_token else ""
        problems.add(key, f"lacks a certificate with the common name {', '.join(sorted(missing))}{hint}")


def _check_certificate(
    key: str,
    given: GivenCertificate,
    claims: RequiredClaims,
    authorities: Sequence[Certificate],
    problems: Problems,
) -> None:
    """Check a certificate's private key, its chain to an authority and its claims."""
    if not given.key.matches(given.certificate):
        problems.add(f"{key}.key", "does not match this certificate; set the certificate's private key")
    if not _has_chain(given, authorities):
        problems.add(
            f"{key}.certificate",
            "has no chain to a certificate in caCertificate; add its authority there, or append its intermediates here",
        )
    for claim, values in claims.items():
        if missing := values - given.certificate.claims[claim]:
            problems.add(
                f"{key}.certificate",
                f"lacks the {claim} {', '.join(sorted(missing))}, but {CLAIM_REASONS[claim]}; use a certificate for "
                f"{', '.join(sorted(values))}",
            )


def _kubelet_claims(node: NodeValues, *, server_only: bool) -> RequiredClaims:
    """Return the claims of a kubelet's certificate (https://kubernetes.io/docs/setup/best-practices/certificates/).

    Args:
        node: The values of the node.
        server_only: True if the kubelet has another certificate as a client.
    """
    names = {str(value) for value in (node.get("name"), node.get("address")) if value is not None}
    if server_only:
        return {Claim.USAGE: {SERVER_AUTH}, Claim.NAME: names}
    return {Claim.USAGE: {CLIENT_AUTH, SERVER_AUTH}, Claim.NAME: names, Claim.ORGANIZATION: {NODES_GROUP}}


def check_certificate_validity(configuration: Configuration, problems: Problems) -> None:
    """Check that the given certificates are valid now."""
    credentials, now = _credentials(configuration.lab.get("join")), configuration.now
    if credentials is None or now is None:
        return
    for name, certificates in _certificates_in_use(credentials):
        if not any(certificate.is_valid_at(now) for certificate in certificates):
            last = certificates[-1]
            problems.add(
                configuration.key(f"join.{name}"),
                f"is valid from {last.not_before:{TIME_FORMAT}} to {last.not_after:{TIME_FORMAT}}, but it is "
                f"{now:{TIME_FORMAT}} UTC; use a valid certificate, or correct this machine's clock",
            )


def _certificates_in_use(credentials: _Credentials) -> Iterator[tuple[str, Sequence[Certificate]]]:
    """Yield each key with its certificates, at least one of which must be valid.

    The certificate of the authority that signs must be valid. Without a signer, one valid authority is enough, because
    an old authority may stay in the bundle until nobody trusts it any more.
    """
    yield "caCertificate", [credentials.signer.certificate] if credentials.signer else credentials.authorities
    for index, given in enumerate(credentials.certificates):
        yield f"certificates[{index}].certificate", [given.certificate]


def build_join(values: JoinValues | None) -> Join | None:
    """Build the cluster that the lab joins from valid values; None if it joins none."""
    credentials = _credentials(values)
    if not values or credentials is None:
        return None
    return Join(
        endpoint=values["endpoint"],
        authorities=credentials.authorities,
        signer=credentials.signer,
        bootstrap_token=credentials.bootstrap_token or "",
        certificates={given.certificate.common_name: given for given in credentials.certificates},
        kubeconfig=values["kubeconfig"] or "",
    )
