"""What a configuration says of a cluster that is there already and that the workers join.

All of it is declared secret, so no message tells more from here than whom a certificate is for and when it is valid.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import yaml

from lab import certificates as pem
from lab.certificates import CLIENT, SERVER, Claim
from lab.config.problems import ABSENT, NodeFields, Problems
from lab.config.schema import Converter, project
from lab.pki import KUBE_PROXY_USER, NODES, kubelet_user
from lab.spec import GivenCertificate, Join

OF_CONTROL_PLANES = ("apiAddress", "etcdFlags", "apiServerFlags", "controllerManagerFlags", "schedulerFlags")
"""The keys that say something of control planes alone."""

CREDENTIALS = ("caKey", "bootstrapToken", "certificates")
"""The keys by which workers get their certificates, caKey without the others."""

OUTSIDE = {"certificate-authority", "client-certificate", "client-key", "tokenFile", "exec", "auth-provider"}
"""What a kubeconfig has where it needs files or programs besides itself
(https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/)."""

MINUTE = "%Y-%m-%d %H:%M"
"""How a message tells a time."""

Claims = dict[Claim, set[str]]
"""What a certificate must say, and may say more of."""

REASONS: Mapping[Claim, str] = {
    Claim.USE: "which it is used for",
    Claim.ORGANIZATION: "by which API servers take a kubelet for that of a node",
    Claim.NAME: "and API servers know a kubelet by its name or by its address, as they are set up",
}
"""Why a certificate that is given must say what it must."""


def _if_given(reader: Converter) -> Converter:
    """What reads as another does, and an empty text as itself."""
    return lambda text: text and reader(text)


def _endpoint(text: str) -> str:
    url = re.fullmatch(r"https://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/?", text)
    if not url or not 0 < int(url[1]) < 65536:
        raise ValueError("must be the URL of an API server with its port and no path, as https://10.240.0.10:6443")
    return text.removesuffix("/")


def _bootstrap_token(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", text):
        raise ValueError("must be a bootstrap token: 6 and 16 characters of a-z and 0-9 with a dot between")
    return text


def _kubeconfig(text: str) -> str:
    try:
        document = yaml.safe_load(text)
        entries = [each[kind] for kind in ("cluster", "user") for each in document[f"{kind}s"]]
        outside = OUTSIDE & {name for entry in entries for name in entry}
    except (yaml.YAMLError, KeyError, TypeError):
        raise ValueError("must be a kubeconfig: YAML with clusters, users and contexts") from None
    if outside:
        raise ValueError(
            f"needs {', '.join(sorted(outside))}, which a worker has not; write one that stands by itself, "
            "as `kubectl config view --minify --flatten` does"
        )
    return text


def _authorities(text: str) -> tuple[pem.Certificate, ...]:
    authorities = pem.certificates(text)
    if others := [one.common_name or "nobody" for one in authorities if not one.issues]:
        raise ValueError(
            f"has one of {', '.join(others)} in it that may not issue others (by basicConstraints or keyUsage); "
            "leave in it certificates of authorities alone"
        )
    return authorities


def _pair(fields: Mapping[str, Any]) -> GivenCertificate | Mapping[str, Any]:
    whole = fields.keys() >= {"certificate", "key"}
    return GivenCertificate(chain=fields["certificate"], key=fields["key"]) if whole else fields


CONVERTERS: Mapping[str, Converter] = {
    "join.endpoint": _endpoint,
    "join.caCertificate": _authorities,
    "join.caKey": _if_given(pem.private_key),
    "join.bootstrapToken": _if_given(_bootstrap_token),
    "join.certificates[].certificate": pem.certificates,
    "join.certificates[].key": pem.private_key,
    "join.certificates[]": _pair,
    "join.kubeconfig": _if_given(_kubeconfig),
}
"""What checks and converts the values of these keys."""


def with_own_control_planes(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of a lab, with no control planes where it joins a cluster and speaks of none.

    The engine hands a program the default of a key in place of one that is not there.
    """
    default = project().settings["controlPlanes"].default
    if values.get("join") and isinstance(values["join"], dict) and values.get("controlPlanes", default) == default:
        return {**values, "controlPlanes": []}
    return values


def check_join(
    namespace: str,
    fields: Mapping[str, Any],
    workers: Sequence[NodeFields],
    now: datetime | None,
    problems: Problems,
) -> None:
    """Checks that a lab has control planes or joins a cluster, and has all that it takes to join.

    fields: the values of the lab that nothing is wrong with by themselves. workers: those of each worker.
    now: the time by which certificates must be valid, None for any.
    """
    control_planes, given = fields.get("controlPlanes"), fields.get("join")
    if given is None:
        if control_planes == []:
            problems.add(
                f"{namespace}:controlPlanes",
                [],
                "is empty; a lab needs at least one control plane, or a cluster to join: see join",
            )
        return
    if control_planes:
        problems.add(
            f"{namespace}:controlPlanes",
            [node.get("name") for node in control_planes],
            "are given beside join; a lab has control planes of its own or joins a cluster: leave one of them out",
        )
    if not fields.get("workers", True):
        problems.add(f"{namespace}:workers", [], "is empty; a lab that joins a cluster needs a worker")
    for name in OF_CONTROL_PLANES:
        if fields.get(name):
            problems.add(
                f"{namespace}:{name}",
                str(fields[name]),
                "is for control planes, and a lab that joins a cluster has none",
            )
    if fields.get("tlsBootstrap") and not given.get("bootstrapToken", True):
        problems.add(f"{namespace}:tlsBootstrap", True, "takes join.bootstrapToken in a lab that joins a cluster")
    whole = all(isinstance(pair, GivenCertificate) for pair in given.get("certificates", ()))
    if whole and given.keys() >= {*CREDENTIALS, "caCertificate"}:
        _check_credentials(f"{namespace}:join", given, workers, problems)
        if now:
            _check_times(f"{namespace}:join", given, now, problems)


def _check_credentials(key: str, given: Mapping[str, Any], workers: Sequence[NodeFields], problems: Problems) -> None:
    """Checks that there is one way by which every worker gets its certificates, and that those given do for it."""
    ways = [name for name in CREDENTIALS if given[name]]
    if not ways:
        problems.add(key, ABSENT, f"has no credentials; give one of {', '.join(CREDENTIALS)}")
    if "caKey" in ways:
        if ways != ["caKey"]:
            others = " and ".join(ways[1:])
            problems.add(f"{key}.caKey", ABSENT, f"is given beside {others}; it signs all certificates: leave one out")
        if not _signer(given):
            problems.add(f"{key}.caKey", ABSENT, "is the key of no certificate in caCertificate")
        return
    kubelets = {
        kubelet_user(node["name"]): _of_kubelet(node, serves_alone=bool(given["bootstrapToken"]))
        for _, node in workers
        if "name" in node
    }
    users: Mapping[str, Claims] = {KUBE_PROXY_USER: {Claim.USE: {CLIENT}}, **kubelets}
    holders: dict[str, str] = {}
    for index, pair in enumerate(given["certificates"]):
        place, user = f"{key}.certificates[{index}]", pair.certificate.common_name
        if user not in users:
            problems.add(place, ABSENT, f"is for {user or 'nobody'}; there is use for {', '.join(sorted(users))}")
        elif user in holders:
            problems.add(place, ABSENT, f"is for {user}, as is {holders[user]}")
        _check_pair(place, pair, users.get(user, {}), given["caCertificate"], problems)
        holders.setdefault(user, place)
    # What a token does not bring; without a certificate for serving, a kubelet makes one that nobody signs.
    needed = {KUBE_PROXY_USER} | (set() if given["bootstrapToken"] else kubelets.keys())
    if ways and (missing := needed - holders.keys()):
        problems.add(
            f"{key}.certificates",
            ABSENT,
            f"lacks one whose common name is {', '.join(sorted(missing))}"
            + ("; a bootstrap token brings kubelets theirs, and kube-proxy none" if given["bootstrapToken"] else ""),
        )


def _check_pair(
    place: str,
    pair: GivenCertificate,
    claims: Claims,
    authorities: Sequence[pem.Certificate],
    problems: Problems,
) -> None:
    """Checks that a certificate and its key belong together, who issued it, and that it says what it must."""
    if not pair.key.fits(pair.certificate):
        problems.add(f"{place}.key", ABSENT, "is not the key of this certificate")
    if not pair.certificate.leads_to(authorities, pair.chain[1:]):
        problems.add(
            f"{place}.certificate",
            ABSENT,
            "was issued by no certificate in caCertificate; give that of its authority there, or the intermediates "
            "behind it here",
        )
    for claim, wanted in claims.items():
        if missing := wanted - pair.certificate.claims[claim]:
            problems.add(
                f"{place}.certificate",
                ABSENT,
                f"lacks the {claim} {', '.join(sorted(missing))}, {REASONS[claim]}; give one that is issued for "
                f"{', '.join(sorted(wanted))}",
            )


def _check_times(key: str, given: Mapping[str, Any], now: datetime, problems: Problems) -> None:
    """Checks that the certificates that are given are within their time, and of the authorities the one that signs.

    Where none of them signs, one that is valid will do: an old one may stay until nobody trusts it any more.
    """
    signer = _signer(given)
    needed: dict[str, Sequence[pem.Certificate]] = {
        f"{key}.caCertificate": [signer.certificate] if signer else given["caCertificate"],
        **{f"{key}.certificates[{i}].certificate": [pair.certificate] for i, pair in enumerate(given["certificates"])},
    }
    for place, certificates in needed.items():
        if not any(one.is_valid(now) for one in certificates):
            last = certificates[-1]
            problems.add(
                place,
                ABSENT,
                f"is valid from {last.begin:{MINUTE}} to {last.end:{MINUTE}}, and it is {now:{MINUTE}} UTC; give one "
                "that is valid, or set this machine's clock",
            )


def _of_kubelet(node: Mapping[str, Any], *, serves_alone: bool) -> Claims:
    """What the certificate of a node's kubelet must say (https://kubernetes.io/docs/setup/best-practices/certificates/).

    serves_alone: whether the kubelet is a client by another one.
    """
    serving: Claims = {Claim.USE: {SERVER}, Claim.NAME: {str(node[key]) for key in ("name", "address") if key in node}}
    return serving if serves_alone else serving | {Claim.USE: {CLIENT, SERVER}, Claim.ORGANIZATION: {NODES}}


def _signer(given: Mapping[str, Any]) -> GivenCertificate | None:
    """What the lab signs with: the authority's key, and the certificate that it is of; None without either."""
    key = given["caKey"]
    own = [one for one in given["caCertificate"] if key and key.fits(one)]
    return GivenCertificate(chain=(own[0],), key=key) if own else None


def join(given: Mapping[str, Any] | None) -> Join | None:
    """The cluster that the lab joins, from the values of its keys; None where it joins none."""
    if given is None:
        return None
    return Join(
        endpoint=given["endpoint"],
        authorities=given["caCertificate"],
        signer=_signer(given),
        bootstrap_token=given["bootstrapToken"],
        certificates={pair.certificate.common_name: pair for pair in given["certificates"]},
        kubeconfig=given["kubeconfig"],
    )
