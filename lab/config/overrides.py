"""What a configuration may lay over the lab's own: any field and flag of a service but those that the lab decides.

The lab decides where another value could only break it (identities, files that it writes, endpoints that it watches)
and what has a key of its own (ranges, taints).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from lab.config.problems import NodeFields, Problems
from lab.config.schema import spelled

FLAG = re.compile(r"[a-z][a-z0-9]*([-.][a-z0-9]+)*")

Path = tuple[str, ...]
"""Where a field stands: the keys that lead to it (containerd's have dots)."""

WRITES_FILE = "the lab writes this file and names it; it cannot be another"
WATCHES = "the lab asks this endpoint whether the service is healthy"
FORMAT = "the lab writes the file in this format"
IDENTITY = "the lab gives every node and service its identity"

PROTECTED_FIELDS: Mapping[str, Mapping[Path, str]] = {
    "kubelet": {
        ("apiVersion",): FORMAT,
        ("kind",): FORMAT,
        ("authentication", "x509", "clientCAFile"): WRITES_FILE,
        ("tlsCertFile",): WRITES_FILE,
        ("tlsPrivateKeyFile",): WRITES_FILE,
        (
            "serverTLSBootstrap",
        ): "nothing approves such a request; the lab's own authority signs the serving certificate",
        ("containerRuntimeEndpoint",): "it is where the lab's containerd listens",
        ("healthzPort",): WATCHES,
        ("healthzBindAddress",): WATCHES,
        ("registerNode",): "a node that does not register never becomes Ready",
        ("registerWithTaints",): "set the worker's taints instead",
        ("podCIDR",): "a kubelet reads it only without an API server; set the worker's podCidr instead",
    },
    "kubeProxy": {
        ("apiVersion",): FORMAT,
        ("kind",): FORMAT,
        ("clientConnection", "kubeconfig"): WRITES_FILE,
        ("clusterCIDR",): "set clusterCidr instead",
        ("hostnameOverride",): IDENTITY,
        ("healthzBindAddress",): WATCHES,
    },
    "containerd": {
        ("version",): FORMAT,
        ("grpc", "address"): "it is where the kubelet reaches containerd",
    },
    "cni": {
        **dict.fromkeys((("cniVersion",), ("type",)), FORMAT),
        ("ipam", "ranges"): "set podCidr of the worker instead",
        ("ipam", "type"): "of the plugins for it, a node has host-local alone",
    },
}
"""For each service, the fields that cannot be overridden, and why or what to set instead."""

PROTECTED_FLAGS: Mapping[str, Mapping[str, str]] = {
    "etcdFlags": {
        "config-file": "etcd reads no flag beside it",
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
        **dict.fromkeys(("listen-client-urls", "advertise-client-urls"), "members and API servers reach etcd there"),
        "wal-dir": "by the log in its data a member is known",
        "force-new-cluster": "it would leave the others behind at every start",
        **dict.fromkeys(
            ("cert-file", "key-file", "trusted-ca-file", "peer-cert-file", "peer-key-file", "peer-trusted-ca-file"),
            WRITES_FILE,
        ),
        "listen-metrics-urls": WATCHES,
    },
    "apiServerFlags": {
        "service-cluster-ip-range": "set serviceCidr instead",
        **dict.fromkeys(("advertise-address", "secure-port"), "nodes and users reach the API server there"),
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
            ),
            WRITES_FILE,
        ),
        "etcd-servers": "it is where the lab's etcd listens",
    },
    "controllerManagerFlags": {
        "cluster-cidr": "set clusterCidr instead",
        "service-cluster-ip-range": "set serviceCidr instead",
        "cluster-name": "set name instead",
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
            WRITES_FILE,
        ),
        "secure-port": WATCHES,
    },
    "schedulerFlags": {
        **dict.fromkeys(("config", "kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"), WRITES_FILE),
        **dict.fromkeys(
            ("profiling", "contention-profiling", "kube-api-qps", "kube-api-burst", "kube-api-content-type"),
            "a scheduler that has a configuration file passes over it",
        ),
        "secure-port": WATCHES,
    },
}
"""For each service of a control plane, the flags that cannot be overridden, and why or what to set instead."""


def is_max_pods(value: Any) -> bool:
    """Whether a value is one that the kubelet takes as maxPods and that leaves room for a pod."""
    return _is_whole_number(value) and value > 0


def _is_whole_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_feature_gates(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(gate, bool) for gate in value.values())


def _is_interface(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", value) is not None


CHECKED_FIELDS: Mapping[str, Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "kubelet": {
        "maxPods": (is_max_pods, "must be a whole number from 1"),
        "featureGates": (_are_feature_gates, "must be a mapping of names to true or false, as MemoryQoS: true"),
    },
    "cni": {
        "bridge": (
            _is_interface,
            "must be the name of a network interface: at most 15 letters, digits and _ . -, as cnio0",
        ),
        "mtu": (lambda value: _is_whole_number(value) and value >= 0, "must be a whole number of bytes, as 1400"),
    },
}
"""For each service, the fields that the lab reads itself, and those that nothing would refuse before a pod starts:
whether a value is one, and what it has to be."""


def check_overrides(namespace: str, fields: Mapping[str, Any], nodes: Sequence[NodeFields], problems: Problems) -> None:
    """Checks the fields and flags that are laid over the lab's, those for all and those of single nodes."""
    for prefix, values in [(f"{namespace}:", fields), *((f"{key}.", node) for key, node in nodes)]:
        for service, decided in PROTECTED_FIELDS.items():
            for path, value, field in _touched(values.get(service, {}), decided):
                whole = f"would take the place of {'.'.join(field)} too, which " if path != field else ""
                key = ".".join((service, *path))
                problems.add(f"{prefix}{key}", value, f"{whole}cannot be overridden: {decided[field]}")
        for service, read in CHECKED_FIELDS.items():
            for name, (fits, what_fits) in read.items():
                value = values.get(service, {}).get(name)
                if value is not None and not fits(value):
                    problems.add(f"{prefix}{service}.{name}", value, what_fits)
    for service, flags in PROTECTED_FLAGS.items():
        for name, value in fields.get(service, {}).items():
            explanation = _wrong_flag(name, value) or (name in flags and f"cannot be overridden: {flags[name]}")
            if explanation:
                problems.add(f"{namespace}:{service}.{spelled(name)}", value, explanation)


def _touched(overrides: Mapping[str, Any], decided: Iterable[Path]) -> Iterator[tuple[Path, Any, Path]]:
    """Where overrides touch a field that the lab decides: the path, the value there, and the field.

    The path is the field's own, or a shorter one whose value would take the field's mapping away.
    """
    for field in decided:
        value: Any = overrides
        for length, key in enumerate(field, start=1):
            if not isinstance(value, Mapping) or key not in value:
                break
            value = value[key]
            if length == len(field) or not isinstance(value, Mapping):
                yield field[:length], value, field
                break


def _wrong_flag(name: str, value: Any) -> str:
    """Why a flag is not one; empty if it is."""
    if not FLAG.fullmatch(name):
        meant = name.lstrip("-").replace("_", "-")
        hint = f", as {meant}" if FLAG.fullmatch(meant) else ""
        return f"must be a flag's name without its dashes, of a-z, 0-9, - and .{hint}"
    if isinstance(value, bool | int | float):
        return ""
    if not isinstance(value, str) or not value.isprintable():
        return "must be text on one line, a number, true or false"
    return ""
