"""The certificates of a lab, as a table: who has one, under what name, valid where, for what."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from lab.spec import Node, Spec

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


def authority_identity(authority: Authority) -> str:
    """The name under which files refer to the certificate of an authority."""
    return f"{authority}-ca"


def kubelet_identity(node: Node) -> str:
    """The name of a node's kubelet among the identities."""
    return f"kubelet-{node.name}"


def etcd_identity(node: Node) -> str:
    """The name of a control plane's etcd member among the identities."""
    return f"etcd-{node.name}"


def identities(spec: Spec) -> dict[str, Identity]:
    """Every certificate of the lab that an authority signs, by name.

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
        "kube-proxy": Identity(common_name="system:kube-proxy", organization="system:node-proxier", uses=(Use.CLIENT,)),
        ADMIN: Identity(common_name="admin", organization="system:masters", uses=(Use.CLIENT,)),
    }
    for node in spec.control_planes:
        table[etcd_identity(node)] = Identity(
            common_name=node.name,
            uses=(Use.SERVER, Use.CLIENT),
            dns_names=(node.name, "localhost"),
            addresses=(node.address, LOOPBACK),
            authority=Authority.ETCD,
        )
    for node in spec.kubelets:
        table[kubelet_identity(node)] = Identity(
            common_name=f"system:node:{node.name}",
            organization="system:nodes",
            # Where the cluster issues the client certificate, this one is to let nobody in.
            uses=(Use.SERVER,) if spec.tls_bootstrap else (Use.SERVER, Use.CLIENT),
            dns_names=(node.name, f"{node.name}.{spec.domain}"),
            addresses=(node.address,),
        )
    return table
