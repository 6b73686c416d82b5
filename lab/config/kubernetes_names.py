"""How Kubernetes spells names, labels and taints, by the rules of its own validation.

Each function returns what it was given, in the spec's terms, or raises ValueError with what is wrong and what is
allowed.
The rules: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ and .../labels/.
"""

import re
from collections.abc import Mapping

from lab.config.problems import shown
from lab.spec import Taint, TaintEffect

LONGEST_LABEL = 63
"""Characters of a DNS label, of a label's name and of its value (RFC 1123)."""

LONGEST_SUBDOMAIN = 253
"""Characters of a DNS subdomain."""

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
QUALIFIED_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")

LABELS_OF_KUBELET = frozenset(
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
"""Labels in Kubernetes' own namespaces that a kubelet may give its node (k8s.io/kubelet, pkg/apis)."""

NAMESPACES_OF_KUBELET = ("kubelet.kubernetes.io", "node.kubernetes.io")
NAMESPACES_OF_KUBERNETES = ("kubernetes.io", "k8s.io")
ROLE_NAMESPACE = "node-role.kubernetes.io"


def dns_label(name: str) -> str:
    """A name that serves as a host name: RFC 1123, lower case, no dots."""
    if not name:
        raise ValueError("must not be empty")
    if len(name) > LONGEST_LABEL:
        raise ValueError(f"has {len(name)} characters; at most {LONGEST_LABEL} are allowed (RFC 1123)")
    if not DNS_LABEL.fullmatch(name):
        raise ValueError(
            "must be made of a-z, 0-9 and -, and begin and end with a letter or a digit (RFC 1123), as node-0"
        )
    return name


def node_name(name: str) -> str:
    """A host name, with its domain or without: a DNS subdomain that the node's label kubernetes.io/hostname takes."""
    if not name:
        raise ValueError("must not be empty")
    if len(name) > LONGEST_LABEL:
        raise ValueError(
            f"has {len(name)} characters; at most {LONGEST_LABEL} are allowed, for the node's label "
            "kubernetes.io/hostname takes no more"
        )
    if not all(DNS_LABEL.fullmatch(part) for part in name.split(".")):
        raise ValueError(
            "must be made of a-z, 0-9 and -, and begin and end with a letter or a digit (RFC 1123), as node-0, or be "
            "several such names joined by single dots, as node-0.example.com"
        )
    return name


def dns_subdomain(name: str) -> str:
    """One or more DNS labels, joined by dots."""
    if len(name) > LONGEST_SUBDOMAIN:
        raise ValueError(f"has {len(name)} characters; at most {LONGEST_SUBDOMAIN} are allowed (RFC 1123)")
    if not all(len(part) <= LONGEST_LABEL and DNS_LABEL.fullmatch(part) for part in name.split(".")):
        raise ValueError(
            f"must be names of at most {LONGEST_LABEL} characters a-z, 0-9 and -, joined by single dots (RFC 1123), "
            "as cluster.local"
        )
    return name


def qualified_name(name: str) -> str:
    """The key of a label or taint: an optional DNS subdomain and a slash, then a name."""
    namespace, slash, local = name.rpartition("/")
    if slash:
        try:
            dns_subdomain(namespace)
        except ValueError as error:
            raise ValueError(f"the part of the key {shown(name)} before its slash {error}") from None
    if not 1 <= len(local) <= LONGEST_LABEL or not QUALIFIED_NAME.fullmatch(local):
        raise ValueError(
            f"the key {shown(name)} must end in a name of 1 to {LONGEST_LABEL} characters A-Z, a-z, 0-9, -, _ and ., "
            "beginning and ending with a letter or a digit"
        )
    return name


def label_value(value: str) -> str:
    """The value of a label or taint."""
    if len(value) > LONGEST_LABEL or (value and not QUALIFIED_NAME.fullmatch(value)):
        raise ValueError(
            f"the value {shown(value)} must be empty or at most {LONGEST_LABEL} characters A-Z, a-z, 0-9, -, _ and ., "
            "beginning and ending with a letter or a digit"
        )
    return value


def labels(given: Mapping[str, object]) -> dict[str, str]:
    """The labels that a kubelet may register its node with."""
    return {label_of_kubelet(key): _text_of_label(key, value) for key, value in given.items()}


def label_of_kubelet(key: str) -> str:
    """The key of a label that a kubelet may set: `--node-labels` and the admission plugin NodeRestriction agree."""
    namespace = qualified_name(key).rpartition("/")[0]
    if _within(namespace, (ROLE_NAMESPACE,)):
        raise ValueError(
            f"the label {shown(key)} cannot be set by a kubelet; the lab gives each node its role by itself"
        )
    if not _within(namespace, NAMESPACES_OF_KUBERNETES) or key in LABELS_OF_KUBELET:
        return key
    if not _within(namespace, NAMESPACES_OF_KUBELET):
        raise ValueError(
            f"the label {shown(key)} is in a namespace of Kubernetes, where a kubelet may set only {_listed_labels()}; "
            "take a key without slash or a domain of your own"
        )
    return key


def taint(text: str) -> Taint:
    """A taint as kubectl spells it: `key=value:Effect` or `key:Effect`."""
    body, colon, effect = text.rpartition(":")
    if not colon or not body:
        raise ValueError("must be key=value:Effect or key:Effect, as dedicated=ingress:NoSchedule")
    if effect not in list(TaintEffect):
        raise ValueError(f"the effect {shown(effect)} must be one of {', '.join(TaintEffect)}")
    key, _, value = body.partition("=")
    return Taint(key=qualified_name(key), value=label_value(value), effect=TaintEffect(effect))


def taints(given: list[Taint]) -> tuple[Taint, ...]:
    """The taints of a node: Kubernetes refuses two with the same key and effect."""
    seen = set()
    for one in given:
        if (one.key, one.effect) in seen:
            raise ValueError(
                f"two taints have the key {shown(one.key)} and the effect {one.effect}; only one is allowed"
            )
        seen.add((one.key, one.effect))
    return tuple(given)


def _text_of_label(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the label {shown(key)} must have text as its value{_as_text(value)}")
    return label_value(value)


def _as_text(value: object) -> str:
    """How to write as text what YAML read as something else."""
    if value is None:
        return '; an empty one is ""'
    return f"; put {shown(value)} in quotes" if isinstance(value, bool | int | float) else ""


def _within(namespace: str, domains: tuple[str, ...]) -> bool:
    return any(namespace == domain or namespace.endswith(f".{domain}") for domain in domains)


def _listed_labels() -> str:
    return ", ".join([*sorted(LABELS_OF_KUBELET), *(f"{namespace}/*" for namespace in NAMESPACES_OF_KUBELET)])
