"""Converters of names, labels and taints, with the rules of Kubernetes' own validation.

Each function returns its argument as the spec holds it, or raises ValueError with an explanation. See
https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/.
"""

import re
from collections.abc import Mapping

from lab.config.problems import display
from lab.spec import Taint, TaintEffect

MAX_LABEL_LENGTH = 63
"""The maximum length of a DNS label, and of the name and the value of a Kubernetes label (RFC 1123)."""

MAX_SUBDOMAIN_LENGTH = 253
"""The maximum length of a DNS subdomain."""

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
QUALIFIED_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

KUBELET_LABELS = frozenset(
    {
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
    }
)
"""The labels in Kubernetes' namespaces that a kubelet may set on its node (k8s.io/kubelet, pkg/apis)."""

KUBELET_NAMESPACES = ("kubelet.kubernetes.io", "node.kubernetes.io")
KUBERNETES_NAMESPACES = ("kubernetes.io", "k8s.io")
ROLE_NAMESPACE = "node-role.kubernetes.io"


def dns_label(name: str) -> str:
    """Check a host name without a domain: RFC 1123, in lower case, without dots."""
    if not name:
        raise ValueError("must not be empty")
    if len(name) > MAX_LABEL_LENGTH:
        raise ValueError(f"has {len(name)} characters; at most {MAX_LABEL_LENGTH} are allowed (RFC 1123)")
    if not DNS_LABEL.fullmatch(name):
        raise ValueError(
            "must contain only a-z, 0-9 and -, and begin and end with a letter or a digit (RFC 1123), such as node-0"
        )
    return name


def node_name(name: str) -> str:
    """Check a host name with or without a domain.

    It must be a DNS subdomain, and short enough for the value of the node's label kubernetes.io/hostname.
    """
    if not name:
        raise ValueError("must not be empty")
    if len(name) > MAX_LABEL_LENGTH:
        raise ValueError(
            f"has {len(name)} characters; at most {MAX_LABEL_LENGTH} are allowed, because the name is the value of the "
            "node's label kubernetes.io/hostname"
        )
    if not all(DNS_LABEL.fullmatch(part) for part in name.split(".")):
        raise ValueError(
            "must contain only a-z, 0-9 and -, and begin and end with a letter or a digit (RFC 1123), such as node-0, "
            "or be several such names joined by single dots, such as node-0.example.com"
        )
    return name


def dns_subdomain(name: str) -> str:
    """Check one or more DNS labels that are joined by dots."""
    if len(name) > MAX_SUBDOMAIN_LENGTH:
        raise ValueError(f"has {len(name)} characters; at most {MAX_SUBDOMAIN_LENGTH} are allowed (RFC 1123)")
    if not all(len(part) <= MAX_LABEL_LENGTH and DNS_LABEL.fullmatch(part) for part in name.split(".")):
        raise ValueError(
            f"must be names of at most {MAX_LABEL_LENGTH} characters a-z, 0-9 and -, joined by single dots (RFC 1123), "
            "such as cluster.local"
        )
    return name


def qualified_name(name: str) -> str:
    """Check the key of a label or taint: a name, with an optional DNS subdomain and a slash before it."""
    namespace, slash, local_name = name.rpartition("/")
    if slash:
        try:
            dns_subdomain(namespace)
        except ValueError as error:
            raise ValueError(f"has the key {display(name)}; the part before its slash {error}") from None
    if not 1 <= len(local_name) <= MAX_LABEL_LENGTH or not QUALIFIED_NAME.fullmatch(local_name):
        raise ValueError(
            f"has the key {display(name)}; a key must end in a name of 1 to {MAX_LABEL_LENGTH} characters A-Z, a-z, "
            "0-9, -, _ and . that begins and ends with a letter or a digit"
        )
    return name


def label_value(value: str) -> str:
    """Check the value of a label or taint."""
    if len(value) > MAX_LABEL_LENGTH or (value and not QUALIFIED_NAME.fullmatch(value)):
        raise ValueError(
            f"has the value {display(value)}; a value must be empty or at most {MAX_LABEL_LENGTH} characters A-Z, a-z, "
            "0-9, -, _ and . that begin and end with a letter or a digit"
        )
    return value


def labels(values: Mapping[str, object]) -> dict[str, str]:
    """Check the labels with which a kubelet registers its node."""
    return {kubelet_label(key): _label_text(key, value) for key, value in values.items()}


def kubelet_label(key: str) -> str:
    """Check the key of a label that a kubelet sets.

    The kubelet's flag `--node-labels` and the admission plugin NodeRestriction have the same rules.
    """
    namespace = qualified_name(key).rpartition("/")[0]
    if _is_in_domain(namespace, (ROLE_NAMESPACE,)):
        raise ValueError(
            f"has the label {display(key)}, which a kubelet cannot set; the lab sets the role of each node"
        )
    if not _is_in_domain(namespace, KUBERNETES_NAMESPACES) or key in KUBELET_LABELS:
        return key
    if not _is_in_domain(namespace, KUBELET_NAMESPACES):
        allowed = ", ".join([*sorted(KUBELET_LABELS), *(f"{namespace}/*" for namespace in KUBELET_NAMESPACES)])
        raise ValueError(
            f"has the label {display(key)}, which is in a namespace of Kubernetes, where a kubelet may set only "
            f"{allowed}; use a key without a slash, or your own domain"
        )
    return key


def taint(text: str) -> Taint:
    """Convert a taint in the format of kubectl: `key=value:Effect` or `key:Effect`."""
    body, colon, effect = text.rpartition(":")
    if not colon or not body:
        raise ValueError("must be key=value:Effect or key:Effect, such as dedicated=ingress:NoSchedule")
    if effect not in list(TaintEffect):
        raise ValueError(f"has the effect {display(effect)}; the effect must be one of {', '.join(TaintEffect)}")
    key, _, value = body.partition("=")
    return Taint(key=qualified_name(key), value=label_value(value), effect=TaintEffect(effect))


def taints(values: list[Taint]) -> tuple[Taint, ...]:
    """Check the taints of a node. Kubernetes refuses two taints with the same key and effect."""
    seen = set()
    for item in values:
        if (item.key, item.effect) in seen:
            raise ValueError(
                f"has two taints with the key {display(item.key)} and the effect {item.effect}; only one is allowed"
            )
        seen.add((item.key, item.effect))
    return tuple(values)


def _label_text(key: str, value: object) -> str:
    if isinstance(value, str):
        return label_value(value)
    hint = ""
    if value is None:
        hint = '; for an empty value, write ""'
    elif isinstance(value, bool | int | float):
        hint = f"; put {display(value)} in quotes"
    raise ValueError(f"has the label {display(key)}, whose value must be text{hint}")


def _is_in_domain(namespace: str, domains: tuple[str, ...]) -> bool:
    return any(namespace == domain or namespace.endswith(f".{domain}") for domain in domains)
