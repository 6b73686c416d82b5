"""The overrides in a configuration: fields and flags of services that replace the lab's.

A stack may set any field and flag except the protected ones. The lab protects those where any other value could only
break it (identities, files that the lab writes, endpoints that it checks). It also protects those that have a separate
key in the configuration (ranges, taints).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from lab.config.fields.check import field_problems, flag_explanation
from lab.config.fields.values import address
from lab.config.precedence import effective
from lab.config.problems import Problems
from lab.config.schema import display_key, display_path
from lab.config.values import Configuration, FlagsKey, LabValues, NodeValues, OverrideKey
from lab.versions import minor
from lab.versions import version as default_version

FLAG = re.compile(r"[a-z][a-z0-9]*([-.][a-z0-9]+)*")

FieldPath = tuple[str, ...]
"""The keys that lead to a field. They are not joined, because containerd's keys contain dots."""

WRITTEN_FILE = "The lab writes this file and sets its path."
EMULATED_VERSION = "Set emulate instead, which all programs of the control planes follow."
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
        ("enableServer",): "API servers connect to the kubelet's server for logs, commands in pods and metrics.",
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
        # Since containerd 2.3, the same address has two names.
        **dict.fromkeys(
            (("grpc", "address"), ("plugins", "io.containerd.server.v1.grpc", "address")),
            "The kubelet connects to containerd at this address.",
        ),
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
        "emulated-version": EMULATED_VERSION,
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
                "requestheader-client-ca-file",
                "proxy-client-cert-file",
                "proxy-client-key-file",
                "encryption-provider-config",
            ),
            WRITTEN_FILE,
        ),
        "requestheader-allowed-names": IDENTITY,
        "audit-policy-file": "Set auditPolicy instead.",
        "authentication-config": "Set authentication instead.",
        "authorization-config": "Set authorization instead.",
        "admission-control-config-file": "Set admission instead.",
        "etcd-servers": "The lab's etcd members listen at these URLs.",
    },
    "controllerManagerFlags": {
        "emulated-version": EMULATED_VERSION,
        "cluster-cidr": "Set clusterCidr instead.",
        "service-cluster-ip-range": "Set serviceCidr instead.",
        "cluster-name": "Set name instead.",
        "allocate-node-cidrs": "Set the podCidr of each node instead. The controller would assign other ranges.",
        "use-service-account-credentials": (
            "RBAC gives each controller its rights under its own service account. Without these, most controllers fail."
        ),
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
        "emulated-version": EMULATED_VERSION,
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

_HEALTH_PATH = (("/healthz",), "because the lab checks the health of the service at this path without credentials")

REQUIRED_ITEMS: Mapping[FlagsKey, Mapping[str, tuple[Sequence[str], str]]] = {
    "apiServerFlags": {
        "authorization-mode": (("Node", "RBAC"), "because the lab's own components rely on them"),
    },
    "controllerManagerFlags": {"authorization-always-allow-paths": _HEALTH_PATH},
    "schedulerFlags": {"authorization-always-allow-paths": _HEALTH_PATH},
}
"""For each control plane service, the flags whose list must contain some items, and why.

A configured list replaces that of the lab.
"""


def is_max_pods(value: Any) -> bool:
    """Return True if the kubelet accepts the value as maxPods and at least one pod can run."""
    return _is_integer(value) and value > 0


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_interface_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", value) is not None


CNI_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "bridge": (
        _is_interface_name,
        "must be the name of a network interface, with at most 15 letters, digits and _ . -, such as cnio0",
    ),
    "mtu": (lambda value: _is_integer(value) and value >= 0, "must be a whole number of bytes, such as 1400"),
}
"""The fields of the CNI plugin with values that are checked here: a predicate, and the message for other values.

Nothing else refuses a wrong value before a pod starts.
"""

TABLES: Mapping[OverrideKey, str] = {"kubelet": "kubelet", "kubeProxy": "kube-proxy", "containerd": "containerd"}
"""The tables with the fields of services, see `lab.config.fields`."""

FLAG_TABLES: Mapping[FlagsKey, str] = {
    "etcdFlags": "etcd",
    "apiServerFlags": "kube-apiserver",
    "controllerManagerFlags": "kube-controller-manager",
    "schedulerFlags": "kube-scheduler",
}
"""The tables with the flags of services."""


def check_protected_fields(configuration: Configuration, problems: Problems) -> None:
    """Check that no override sets a protected field."""
    for prefix, values in scopes(configuration):
        for service, fields in PROTECTED_FIELDS.items():
            for path, value, field in _protected_parts(values.get(service, {}), fields):
                replaces = f"would also replace {'.'.join(field)}, which " if path != field else ""
                key = ".".join((service, *path))
                problems.add(f"{prefix}{key}", f"{replaces}cannot be overridden. {fields[field]}", value)


def check_cni_fields(configuration: Configuration, problems: Problems) -> None:
    """Check the values of overrides in CNI_FIELDS."""
    for prefix, values in scopes(configuration):
        for name, (is_valid, explanation) in CNI_FIELDS.items():
            value = values.get("cni", {}).get(name)
            if value is not None and not is_valid(value):
                problems.add(f"{prefix}cni.{name}", explanation, value)


def check_fields(configuration: Configuration, problems: Problems) -> None:
    """Check the names and values of fields in overrides, in the version of each node that they apply to."""
    for service, table in TABLES.items():
        reported: set[str] = set()
        for prefix, own, overrides, version in _applied_overrides(configuration, service):
            protected = {path for path, _, _ in _protected_parts(overrides, PROTECTED_FIELDS[service])}
            for path, explanation, value in field_problems(table, overrides, version):
                owner = prefix if _contains(own, path) else configuration.key("")
                key = f"{owner}{service}{display_path(path)}"
                if key not in reported and not any(path[: len(field)] == field for field in protected):
                    reported.add(key)
                    problems.add(key, explanation, value)


def check_flags(configuration: Configuration, problems: Problems) -> None:
    """Check that flags are well-formed, not protected, and known to every version that they apply to."""
    emulated = configuration.lab.get("emulate")
    for service, protected in PROTECTED_FLAGS.items():
        for name, value in configuration.lab.get(service, {}).items():
            explanation = _flag_problem(name, value)
            if not explanation and name in protected:
                explanation = f"cannot be overridden. {protected[name]}"
            for version in _control_plane_minors(configuration, service):
                texts = _flag_values(value)
                for text in texts:
                    explanation = explanation or flag_explanation(
                        FLAG_TABLES[service],
                        name,
                        text,
                        version,
                        emulated_minor=minor(emulated) if emulated and service != "etcdFlags" else None,
                        is_repeated=len(texts) > 1,
                    )
            explanation = explanation or _missing_items(service, name, value)
            if explanation:
                problems.add(configuration.key(f"{service}.{display_key(name)}"), explanation, value)


def _missing_items(service: FlagsKey, name: str, value: Any) -> str:
    """Explain which required items the list of a flag lacks. Return an empty string if it has all."""
    required, reason = REQUIRED_ITEMS.get(service, {}).get(name, ((), ""))
    items = [item.strip() for text in _flag_values(value) for item in text.split(",")]
    missing = [item for item in required if item not in items]
    return f"must contain {' and '.join(missing)}, {reason}" if missing else ""


def _applied_overrides(
    configuration: Configuration, service: OverrideKey
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any], int | None]]:
    """Yield the overrides of the lab, and those that apply on each node that runs the service.

    Each has the prefix of the keys, the overrides under these keys, the overrides with those of the lab, and the minor
    version of the service. The lab's overrides have none, because nodes can have several.
    """
    lab = configuration.lab
    yield configuration.key(""), lab.get(service, {}), lab.get(service, {}), None
    workers = [entry.key for entry in configuration.workers]
    checked: set[int] = set()
    for key, node in configuration.nodes:
        if key not in workers and node.get("podCidr") is None:
            continue
        own = node.get(service, {})
        version = minor(
            _component_version("containerd", lab)
            if service == "containerd"
            else effective("kubernetesVersion", node, lab)
        )
        if own or version not in checked:
            yield f"{key}.", own, effective(service, node, lab), version
        if not own:
            checked.add(version)


def _control_plane_minors(configuration: Configuration, service: FlagsKey) -> list[int]:
    """Return the minor versions of a control plane's service, oldest first."""
    if service == "etcdFlags":
        return [minor(_component_version("etcd", configuration.lab))]
    nodes = [node.values for node in configuration.control_planes]
    return sorted({minor(effective("kubernetesVersion", node, configuration.lab)) for node in nodes})


def _component_version(component: Literal["containerd", "etcd"], lab: LabValues) -> str:
    return lab.get("versions", {}).get(component) or default_version(component)


def _flag_values(value: Any) -> list[str]:
    """Return the values of a flag as the program gets them."""
    values = value if isinstance(value, list) else [value]
    return [str(one).lower() if isinstance(one, bool) else str(one) for one in values]


def _contains(overrides: Any, path: Sequence[str | int]) -> bool:
    """Return True if overrides have a value at a path, or the list that contains it."""
    for key in path:
        if isinstance(key, str) and not (isinstance(overrides, Mapping) and key in overrides):
            return False
        # A node's list replaces that of the lab as a whole.
        if isinstance(key, str):
            overrides = overrides[key]
    return True


def check_bind_addresses(configuration: Configuration, problems: Problems) -> None:
    """Check that servers of the control plane listen where their clients and health checks connect to them."""
    lab = configuration.lab
    control_planes = configuration.control_planes
    sole = str(control_planes[0].values.get("address")) if len(control_planes) == 1 else None
    served: Mapping[FlagsKey, tuple[str | None, ...]] = {
        "apiServerFlags": ("0.0.0.0" if lab.get("apiAddress") is None else None, sole),
        "controllerManagerFlags": ("127.0.0.1", "0.0.0.0", sole),
        "schedulerFlags": ("127.0.0.1", "0.0.0.0", sole),
    }
    for service, addresses in served.items():
        value = lab.get(service, {}).get("bind-address")
        allowed = list(filter(None, addresses))
        if value is None or value in allowed:
            continue
        choices = f"one of {', '.join(allowed)}" if allowed else "left out"
        problems.add(
            configuration.key(f"{service}.bind-address"),
            f"must be {choices}: the lab has one value for all control planes, and checks the health of the service "
            "at this address",
            value,
        )


def check_kubelet_addresses(configuration: Configuration, problems: Problems) -> None:
    """Check that every kubelet listens where API servers connect to it: at the address of its node."""
    own = {f"{key}.": str(node.get("address")) for key, node in configuration.nodes}
    for prefix, values in scopes(configuration):
        value = values.get("kubelet", {}).get("address")
        allowed = ["0.0.0.0", *([own[prefix]] if prefix in own else [])]
        if isinstance(value, str) and not address(value) and value not in allowed:
            problems.add(
                f"{prefix}kubelet.address",
                f"must be {' or '.join(allowed)}: API servers connect to the kubelet at the address of its node, for "
                "logs, commands in pods and metrics",
                value,
            )


def scopes(configuration: Configuration) -> Iterator[tuple[str, LabValues | NodeValues]]:
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
    if isinstance(value, list):
        if not value:
            return "must not be an empty list; remove the flag instead"
        if any(value.count(item) > 1 for item in value):
            return "must not have a value twice"
        return next(filter(None, (_flag_problem(name, item) for item in value)), "")
    if not FLAG.fullmatch(name):
        corrected = name.lstrip("-").replace("_", "-")
        hint = f", such as {corrected}" if FLAG.fullmatch(corrected) else ""
        return f"must be the name of a flag without its dashes, of a-z, 0-9, - and .{hint}"
    if isinstance(value, bool | int | float):
        return ""
    if not isinstance(value, str) or not value.isprintable():
        return "must be text on one line, a number, true or false"
    return ""
