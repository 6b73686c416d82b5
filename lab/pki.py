"""The table of a lab's certificates: their subjects, names, addresses and usages."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from lab.spec import Node, Spec, fqdn

LOOPBACK = IPv4Address("127.0.0.1")


class Authority(StrEnum):
    """A certificate authority.

    etcd has its own authority, because it accepts every client certificate that its authority signed. With a shared
    authority, every kubelet could log in to etcd (https://etcd.io/docs/v3.6/op-guide/security/).

    The front proxy has its own authority, because an extension API server believes the user name in a request from
    every client that this authority signed (https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/).
    """

    KUBERNETES = "kubernetes"
    ETCD = "etcd"
    FRONT_PROXY = "front-proxy"


class Use(StrEnum):
    """A usage of a certificate. The values are those of pulumi-tls."""

    CLIENT = "client_auth"
    SERVER = "server_auth"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A certificate to sign, with its own private key.

    Kubernetes authenticates a client as the user `common_name` in the group `organization`
    (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#x509-client-certificates).

    Attributes:
        common_name: The common name of the subject.
        uses: The usages.
        organization: The organization of the subject, if it has one.
        dns_names: The DNS names of a server.
        addresses: The IP addresses of a server.
        authority: The authority that signs the certificate.
    """

    common_name: str
    uses: tuple[Use, ...]
    organization: str | None = None
    dns_names: tuple[str, ...] = ()
    addresses: tuple[IPv4Address, ...] = ()
    authority: Authority = Authority.KUBERNETES


SERVICE_ACCOUNTS = "service-accounts"
"""The name of the key that signs service account tokens. It has no certificate."""

BOOTSTRAP_TOKENS = "bootstrap-tokens"
"""The name of the key from which the nodes' bootstrap tokens are derived. It has no certificate."""

ENCRYPTION = "encryption"
"""The name of the key from which the keys for objects in etcd are derived. It has no certificate."""

ADMIN = "admin"
"""The name of the identity with which the program itself administers the cluster."""

MASTERS_GROUP = "system:masters"
"""The group that may do everything without RBAC. So these rights survive damage to RBAC, and nothing ends them."""

CLUSTER_ADMINS_GROUP = "hardway-cluster-admins"
"""The group of administrators, and the name of the binding that gives it its rights."""

ADMIN_USER = "hardway-admin"
"""The user of an administrator's kubeconfig. Each of its certificates is valid for some hours."""

SUPER_ADMIN_USER = "hardway-super-admin"
"""The user of the kubeconfig for emergencies, in the group MASTERS_GROUP."""

FRONT_PROXY_CLIENT = "front-proxy-client"
"""The identity and common name with which API servers forward requests to extension API servers."""

KUBE_PROXY_USER = "system:kube-proxy"
"""The user of every kube-proxy."""

KUBE_NETWORK_POLICIES = "kube-network-policies"
"""The name of the identity of every kube-network-policies, and of its user."""

NODES_GROUP = "system:nodes"
"""The group of all kubelets."""


HAPROXY = "haproxy"
"""The identity and user of the load balancers, which only read the health of the API servers."""


def authority_identity(authority: Authority) -> str:
    """Return the name by which credential files refer to the certificates of an authority."""
    return f"{authority}-ca"


ISSUERS: Mapping[str, str] = {
    **{authority_identity(authority): "ca-1" for authority in Authority},
    SERVICE_ACCOUNTS: "key-1",
}
"""The names of everything that issues certificates or tokens, and the name of the default key of each."""


def issuer_keys(spec: Spec, issuer: str) -> tuple[str, ...]:
    """Return the names of the keys of an issuer. The first one issues, and all are trusted.

    Args:
        spec: The lab.
        issuer: A key of ISSUERS.
    """
    return spec.certificates.issuers.get(issuer, (ISSUERS[issuer],))


def is_rotated(spec: Spec, issuer: str) -> bool:
    """Return True if an issuer has another key than its default one, or several keys."""
    return issuer_keys(spec, issuer) != (ISSUERS[issuer],)


def issuer_identity(issuer: str, key: str) -> str:
    """Return the name of the resources of one key of an issuer. No node has such a name, so that no identity has it."""
    return issuer if key == ISSUERS[issuer] else f"{issuer}/{key}"


def authority_common_name(spec: Spec, authority: Authority, key: str) -> str:
    """Return the common name of an authority's certificate. The rotation recognizes the issuer of a certificate by it.

    Args:
        spec: The lab.
        authority: The authority.
        key: The name of its key.
    """
    suffix = "" if key == ISSUERS[authority_identity(authority)] else f" {key}"
    return f"{spec.name} {authority} CA{suffix}"


def kubelet_identity(node: Node) -> str:
    """Return the name of the identity of a node's kubelet."""
    return f"kubelet-{node.name}"


def kubelet_user(node: str) -> str:
    """Return the user of a node's kubelet (https://kubernetes.io/docs/reference/access-authn-authz/node/).

    Args:
        node: The name of the node.
    """
    return f"system:node:{node}"


def has_kubelet_certificate(spec: Spec, node: Node) -> bool:
    """Return True if the lab signs, or is given, a certificate for the node's kubelet."""
    return not spec.join or spec.join.signer is not None or kubelet_user(node.name) in spec.join.certificates


def etcd_identity(node: Node) -> str:
    """Return the name of the identity of a control plane's etcd member."""
    return f"etcd-{node.name}"


def identities(spec: Spec) -> dict[str, Identity]:
    """Return all certificates of the lab by name, except those of authorities.

    The lab's authorities sign them. If the lab joins a cluster, the given authority signs them if its key is given.
    Otherwise, only the given certificates exist.
    """
    if not spec.join:
        return _control_plane_identities(spec) | {ADMIN: _ADMIN_IDENTITY} | _pod_identities(spec)
    if spec.join.signer:
        return ({} if spec.join.kubeconfig else {ADMIN: _ADMIN_IDENTITY}) | _pod_identities(spec)
    return {
        name: identity
        for name, identity in _pod_identities(spec).items()
        if identity.common_name in spec.join.certificates
    }


_ADMIN_IDENTITY = Identity(common_name="admin", organization=MASTERS_GROUP, uses=(Use.CLIENT,))


def _control_plane_identities(spec: Spec) -> dict[str, Identity]:
    """Return the identities of control plane services.

    The API server's DNS names are those of https://kubernetes.io/docs/setup/best-practices/certificates/. Its addresses
    are those of all control planes, because all API servers share a certificate.
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
                *(name for name in spec.api_server_names if isinstance(name, str)),
            ),
            addresses=(
                networks.api_service,
                LOOPBACK,
                *(node.address for node in spec.control_planes),
                *([spec.api_address] if spec.api_address else []),
                *(name for name in spec.api_server_names if isinstance(name, IPv4Address)),
            ),
        ),
        "kube-apiserver-kubelet-client": Identity(common_name="kubernetes", uses=(Use.CLIENT,)),
        "kube-apiserver-etcd-client": Identity(
            common_name="kube-apiserver-etcd-client", uses=(Use.CLIENT,), authority=Authority.ETCD
        ),
        FRONT_PROXY_CLIENT: Identity(
            common_name=FRONT_PROXY_CLIENT, uses=(Use.CLIENT,), authority=Authority.FRONT_PROXY
        ),
        "kube-controller-manager": Identity(common_name="system:kube-controller-manager", uses=(Use.CLIENT,)),
        "kube-scheduler": Identity(common_name="system:kube-scheduler", uses=(Use.CLIENT,)),
    }
    if spec.api_address:
        table[HAPROXY] = Identity(common_name=HAPROXY, uses=(Use.CLIENT,))
    for node in spec.control_planes:
        table[etcd_identity(node)] = Identity(
            common_name=node.name,
            uses=(Use.SERVER, Use.CLIENT),
            dns_names=(node.name, "localhost"),
            addresses=(node.address, LOOPBACK),
            authority=Authority.ETCD,
        )
    return table


def _pod_identities(spec: Spec) -> dict[str, Identity]:
    """Return the identities of the services that run pods: those that all nodes share, and that of each kubelet."""
    table = {}
    if spec.kube_proxy_enabled:
        table["kube-proxy"] = Identity(
            common_name=KUBE_PROXY_USER, organization="system:node-proxier", uses=(Use.CLIENT,)
        )
    if spec.network_policy:
        table[KUBE_NETWORK_POLICIES] = Identity(common_name=KUBE_NETWORK_POLICIES, uses=(Use.CLIENT,))
    for node in spec.kubelets:
        table[kubelet_identity(node)] = Identity(
            common_name=kubelet_user(node.name),
            organization=NODES_GROUP,
            # If the cluster issues the client certificate, this certificate must not authenticate a client.
            uses=(Use.SERVER,) if spec.tls_bootstrap else (Use.SERVER, Use.CLIENT),
            dns_names=tuple(dict.fromkeys((node.name, fqdn(node.name, spec.domain)))),
            addresses=(node.address,),
        )
    return table
