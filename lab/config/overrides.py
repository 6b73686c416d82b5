"""The overrides in a configuration: fields and flags of services that replace the lab's.

A stack may set any field and flag except the protected ones. The lab protects those where any other value could only
break it (identities, files that the lab writes, endpoints that it checks). It also protects those that have a separate
key in the configuration (ranges, taints).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from lab.config.problems import Problems
from lab.config.schema import display_key
from lab.config.values import Configuration, FlagsKey, LabValues, NodeValues, OverrideKey

FLAG = re.compile(r"[a-z][a-z0-9]*([-.][a-z0-9]+)*")

FieldPath = tuple[str, ...]
"""The keys that lead to a field. They are not joined, because containerd's keys contain dots."""

WRITTEN_FILE = "The lab writes this file and sets its path."
HEALTH_ENDPOINT = "The lab checks the health of the service at this endpoint."
FORMAT = "The lab writes the file in this format."
IDENTITY = "The lab sets the identity of every node and service."

PROTECTED_FIELDS: Mapping[OverrideKey, Mapping[FieldPath, str]] = {
    "kubelet": {
        ("apiVersion",): FORMAT,
        ("kind",): FORMAT,
        ("authentication", "x509", "clientCAFile"): WRITTEN_FILE,
        ("tlsCertFile",): WRITTEN_FILE,
        ("tlsPrivateKeyFile",): WRITTEN_FILE,
        ("serverTLSBootstrap",): (
            "The lab signs the kubelet's serving certificate itself, because no controller approves requests for one."
        ),
        ("containerRuntimeEndpoint",): "The lab's containerd listens at this endpoint.",
        ("healthzPort",): HEALTH_ENDPOINT,
        ("healthzBindAddress",): HEALTH_ENDPOINT,
        ("registerNode",): "The lab registers every node, because a node that does not register never becomes Ready.",
        ("registerWithTaints",): "Set the node's taints instead.",
        ("podCIDR",): "The kubelet uses this field only without an API server. Set the node's podCidr instead.",
    },
    "kubeProxy": {
        ("apiVersion",): FORMAT,
        ("kind",): FORMAT,
        ("clientConnection", "kubeconfig"): WRITTEN_FILE,
        ("clusterCIDR",): "Set clusterCidr instead.",
        ("hostnameOverride",): IDENTITY,
        ("healthzBindAddress",): HEALTH_ENDPOINT,
    },
    "containerd": {
        ("version",): FORMAT,
        ("grpc", "address"): "The kubelet connects to containerd at this address.",
    },
    "cni": {
        ("cniVersion",): FORMAT,
        ("type",): FORMAT,
        ("ipMasq",): (
            "The node itself masquerades the traffic of pods, because the plugin would also translate traffic inside "
            "the cluster."
        ),
        ("ipam", "ranges"): "Set the node's podCidr instead.",
        ("ipam", "type"): "The lab installs host-local as the only IPAM plugin.",
    },
}
"""For each service, the fields that a stack must not set, and why."""

PROTECTED_FLAGS: Mapping[FlagsKey, Mapping[str, str]] = {
    "etcdFlags": {
        "config-file": "With a configuration file, etcd ignores all flags of the lab.",
        **dict.fromkeys(
            (
                "name",
                "initial-cluster",
                "initial-cluster-state",
                "initial-cluster-token",
                "initial-advertise-peer-urls",
                "listen-peer-urls",
                "data-dir",
            ),
            IDENTITY,
        ),
        **dict.fromkeys(
            ("listen-client-urls", "advertise-client-urls"), "Members and API servers connect to etcd at these URLs."
        ),
        "wal-dir": "The lab recognizes an existing member by the write-ahead log in its data directory.",
        "force-new-cluster": "With this flag, the member would leave the other members at every start.",
        **dict.fromkeys(
            ("cert-file", "key-file", "trusted-ca-file", "peer-cert-file", "peer-key-file", "peer-trusted-ca-file"),
            WRITTEN_FILE,
        ),
        "listen-metrics-urls": HEALTH_ENDPOINT,
    },
    "apiServerFlags": {
        "service-cluster-ip-range": "Set serviceCidr instead.",
        **dict.fromkeys(
            ("advertise-address", "secure-port"), "Nodes and users connect to the API server at this address and port."
        ),
        **dict.fromkeys(
            (
                "client-ca-file",
                "tls-cert-file",
                "tls-private-key-file",
                "etcd-cafile",
                "etcd-certfile",
                "etcd-keyfile",
                "kubelet-certificate-authority",
                "kubelet-client-certificate",
                "kubelet-client-key",
                "service-account-key-file",
                "service-account-signing-key-file",
                "audit-policy-file",
                "requestheader-client-ca-file",
                "proxy-client-cert-file",
                "proxy-client-key-file",
            ),
            WRITTEN_FILE,
        ),
        "requestheader-allowed-names": IDENTITY,
        "etcd-servers": "The lab's etcd members listen at these URLs.",
    },
    "controllerManagerFlags": {
        "cluster-cidr": "Set clusterCidr instead.",
        "service-cluster-ip-range": "Set serviceCidr instead.",
        "cluster-name": "Set name instead.",
        **dict.fromkeys(
            (
                "kubeconfig",
                "authentication-kubeconfig",
                "authorization-kubeconfig",
                "root-ca-file",
                "cluster-signing-cert-file",
                "cluster-signing-key-file",
                "service-account-private-key-file",
            ),
            WRITTEN_FILE,
        ),
        "secure-port": HEALTH_ENDPOINT,
    },
    "schedulerFlags": {
        **dict.fromkeys(
            ("config", "kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), WRITTEN_FILE
        ),
        **dict.fromkeys(
            ("profiling", "contention-profiling", "kube-api-qps", "kube-api-burst", "kube-api-content-type"),
            "kube-scheduler ignores this flag, because it has a configuration file.",
        ),
        "secure-port": HEALTH_ENDPOINT,
    },
}
"""For each control plane service, the flags that a stack must not set, and why."""


def is_max_pods(value: Any) -> bool:
    """Return True if the kubelet accepts the value as maxPods and at least one pod can run."""
    return _is_integer(value) and value > 0


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_feature_gates(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(gate, bool) for gate in value.values())


def _is_interface_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", value) is not None


CHECKED_FIELDS: Mapping[OverrideKey, Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "kubelet": {
        "maxPods": (is_max_pods, "must be a whole number from 1"),
        "featureGates": (_is_feature_gates, "must be a mapping of names to true or false, such as MemoryQoS: true"),
    },
    "cni": {
        "bridge": (
            _is_interface_name,
            "must be the name of a network interface, with at most 15 letters, digits and _ . -, such as cnio0",
        ),
        "mtu": (lambda value: _is_integer(value) and value >= 0, "must be a whole number of bytes, such as 1400"),
    },
}
"""For each service, the fields with values that are checked here: a predicate, and the message for other values.

The lab itself reads these fields, or nothing else refuses a wrong value before a pod starts.
"""


def check_protected_fields(configuration: Configuration, problems: Problems) -> None:
    """Check that no override sets a protected field."""
    for prefix, values in _scopes(configuration):
        for service, fields in PROTECTED_FIELDS.items():
            for path, value, field in _protected_parts(values.get(service, {}), fields):
                replaces = f"would also replace {'.'.join(field)}, which " if path != field else ""
                key = ".".join((service, *path))
                problems.add(f"{prefix}{key}", f"{replaces}cannot be overridden. {fields[field]}", value)


def check_field_values(configuration: Configuration, problems: Problems) -> None:
    """Check the values of overrides in CHECKED_FIELDS."""
    for prefix, values in _scopes(configuration):
        for service, fields in CHECKED_FIELDS.items():
            for name, (is_valid, explanation) in fields.items():
                value = values.get(service, {}).get(name)
                if value is not None and not is_valid(value):
                    problems.add(f"{prefix}{service}.{name}", explanation, value)


def check_flags(configuration: Configuration, problems: Problems) -> None:
    """Check that flags are well-formed and not protected."""
    for service, protected in PROTECTED_FLAGS.items():
        for name, value in configuration.lab.get(service, {}).items():
            explanation = _flag_problem(name, value)
            if not explanation and name in protected:
                explanation = f"cannot be overridden. {protected[name]}"
            if explanation:
                problems.add(configuration.key(f"{service}.{display_key(name)}"), explanation, value)


def _scopes(configuration: Configuration) -> Iterator[tuple[str, LabValues | NodeValues]]:
    """Yield the values of the lab and of each node, with the prefix of their keys."""
    yield configuration.key(""), configuration.lab
    for key, node in configuration.nodes:
        yield f"{key}.", node


def _protected_parts(
    overrides: Mapping[str, Any], fields: Iterable[FieldPath]
) -> Iterator[tuple[FieldPath, Any, FieldPath]]:
    """Yield each override of a protected field: the path of the override, its value, and the protected field.

    The path is that of the field, or a shorter one whose value would replace the mapping that contains the field.
    """
    for field in fields:
        value: Any = overrides
        for length, key in enumerate(field, start=1):
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
            if length == len(field) or not isinstance(value, Mapping):
                yield field[:length], value, field
                break


def _flag_problem(name: str, value: Any) -> str:
    """Explain why a name and a value are not a flag. Return an empty string if they are."""
    if not FLAG.fullmatch(name):
        corrected = name.lstrip("-").replace("_", "-")
        hint = f", such as {corrected}" if FLAG.fullmatch(corrected) else ""
        return f"must be the name of a flag without its dashes, of a-z, 0-9, - and .{hint}"
    if isinstance(value, bool | int | float):
        return ""
    if not isinstance(value, str) or not value.isprintable():
        return "must be text on one line, a number, true or false"
    return ""
