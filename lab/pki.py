"""The certificates of a lab, as a table: who has one, under what name, valid where, for what."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from lab.spec import Node, Spec, fqdn

LOOPBACK = IPv4Address("127.0.0.1")


class Authority(StrEnum):
    """The certificate authorities. etcd has its own: it trusts whoever its authority signed, and no kubelet is to be
    let in by that (https://etcd.io/docs/v3.6/op-guide/security/)."""

    KUBERNETES = "kubernetes"
    ETCD = "etcd"


class Use(StrEnum):
    """What a certificate may be used for, as pulumi-tls spells it."""

    CLIENT = "client_auth"
    SERVER = "server_auth"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A certificate to be signed, with the key that belongs to it.

    common_name and organization are the user and group that Kubernetes takes a client for
    (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates).
    """

    common_name: str
    uses: tuple[Use, ...]
    organization: str | None = None
    dns_names: tuple[str, ...] = ()
    addresses: tuple[IPv4Address, ...] = ()
    authority: Authority = Authority.KUBERNETES


SERVICE_ACCOUNTS = "service-accounts"
"""The identity that is a key alone: it signs service account tokens, and nothing signs it."""

BOOTSTRAP_TOKENS = "bootstrap-tokens"
"""The identity that is a key alone, too: the nodes' bootstrap tokens follow from it."""

ADMIN = "admin"
KUBE_PROXY_USER = "system:kube-proxy"
NODES = "system:nodes"
"""The group of all kubelets."""


def authority_identity(authority: Authority) -> str:
    """The name under which files refer to the certificate of an authority."""
    return f"{authority}-ca"


def kubelet_identity(node: Node) -> str:
    """The name of a node's kubelet among the identities."""
    return f"kubelet-{node.name}"


def kubelet_user(node: str) -> str:
    """The user that a node's kubelet is, by the node's name
    (https://kubernetes.io/docs/reference/access-authn-authz/node/)."""
    return f"system:node:{node}"


def has_kubelet_certificate(spec: Spec, node: Node) -> bool:
    """Return whether the lab signs or is given a certificate for the node's kubelet."""
    return not spec.join or spec.join.signer is not None or kubelet_user(node.name) in spec.join.certificates


def etcd_identity(node: Node) -> str:
    """The name of a control plane's etcd member among the identities."""
    return f"etcd-{node.name}"


def identities(spec: Spec) -> dict[str, Identity]:
    """Every certificate of the lab, by name, but for those of its authorities.

    An authority of the lab signs them; where it joins a cluster, they are given, unless the authority's key is.
    """
    if not spec.join:
        return _of_control_planes(spec) | {ADMIN: _ADMINISTRATOR} | _of_pods(spec)
    if spec.join.signer:
        return ({} if spec.join.kubeconfig else {ADMIN: _ADMINISTRATOR}) | _of_pods(spec)
    return {
        name: identity for name, identity in _of_pods(spec).items() if identity.common_name in spec.join.certificates
    }


_ADMINISTRATOR = Identity(common_name="admin", organization="system:masters", uses=(Use.CLIENT,))


def _of_control_planes(spec: Spec) -> dict[str, Identity]:
    """What only control planes have.

    The names that the API server answers to are those of
    https://kubernetes.io/docs/setup/best-practices/certificates/, its addresses those of all control planes.
    """
    networks = spec.networks
    table = {
        "kube-apiserver": Identity(
            common_name="kube-apiserver",
            uses=(Use.SERVER,),
            dns_names=(
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                f"kubernetes.default.svc.{networks.cluster_domain}",
                *(node.name for node in spec.control_planes),
            ),
            addresses=(
                networks.api_service,
                LOOPBACK,
                *(node.address for node in spec.control_planes),
                *([spec.api_address] if spec.api_address else []),
            ),
        ),
        "kube-apiserver-kubelet-client": Identity(common_name="kubernetes", uses=(Use.CLIENT,)),
        "kube-apiserver-etcd-client": Identity(
            common_name="kube-apiserver-etcd-client", uses=(Use.CLIENT,), authority=Authority.ETCD
        ),
        "kube-controller-manager": Identity(common_name="system:kube-controller-manager", uses=(Use.CLIENT,)),
        "kube-scheduler": Identity(common_name="system:kube-scheduler", uses=(Use.CLIENT,)),
    }
    for node in spec.control_planes:
        table[etcd_identity(node)] = Identity(
            common_name=node.name,
            uses=(Use.SERVER, Use.CLIENT),
            dns_names=(node.name, "localhost"),
            addresses=(node.address, LOOPBACK),
            authority=Authority.ETCD,
        )
    return table


def _of_pods(spec: Spec) -> dict[str, Identity]:
    """What runs pods: kube-proxy, and each kubelet."""
    table = {
        "kube-proxy": Identity(common_name=KUBE_PROXY_USER, organization="system:node-proxier", uses=(Use.CLIENT,))
    }
    for node in spec.kubelets:
        table[kubelet_identity(node)] = Identity(
            common_name=kubelet_user(node.name),
            organization=NODES,
            # Where the cluster issues the client certificate, this one is to let nobody in.
            uses=(Use.SERVER,) if spec.tls_bootstrap else (Use.SERVER, Use.CLIENT),
            dns_names=tuple(dict.fromkeys((node.name, fqdn(node.name, spec.domain)))),
            addresses=(node.address,),
        )
    return table
