"""Random changes of a configuration, and an oracle that predicts their restarts from the specs, without rendering.

The table READS lists, for each service, the parts of the spec that it depends on, as a person would. Tests compare the
prediction with the rendered services and with the restarts on real nodes.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from lab.config.parse import ConfigurationError, parse
from lab.spec import Flags, Node, Role, Spec
from lab.versions import kubernetes_versions
from system.files import CHECKOUT

Values = dict[str, Any]
"""A configuration: keys without their namespace to YAML values."""

Keys = tuple[str, ...]
"""The path of keys to a field."""

UNSET: Final = "(unset)"
"""The default of a field that the lab does not set."""

GONE: Final = "(gone)"
"""Marks the removal of a value."""


@dataclass(frozen=True)
class Field:
    """A field that a change may set.

    Attributes:
        default: Value that the lab sets.
        others: Other values that every version accepts.
        optional: True if the service works without the field, so that null may remove the default.
    """

    default: Any
    others: tuple[Any, ...]
    optional: bool = False


IMAGES, RUNTIME = (("plugins", f"io.containerd.cri.v1.{name}") for name in ("images", "runtime"))

FIELDS: Mapping[str, Mapping[Keys, Field]] = {
    "kubelet": {
        ("maxPods",): Field(110, (60, 90), optional=True),
        ("podPidsLimit",): Field(4096, (1024, 2048), optional=True),
        ("eventRecordQPS",): Field(5, (10, 50), optional=True),
        ("streamingConnectionIdleTimeout",): Field("5m", ("10m", "1h"), optional=True),
        ("runtimeRequestTimeout",): Field("15m", ("5m", "10m"), optional=True),
        ("imageGCHighThresholdPercent",): Field(UNSET, (86, 90)),
        ("containerLogMaxSize",): Field(UNSET, ("5Mi", "20Mi")),
        ("serializeImagePulls",): Field(UNSET, (True,)),
        ("systemReserved", "cpu"): Field("100m", ("50m", "150m")),
        ("systemReserved", "memory"): Field("128Mi", ("96Mi", "160Mi"), optional=True),
        ("evictionHard", "memory.available"): Field(UNSET, ("50Mi", "80Mi")),
    },
    "kubeProxy": {
        # Other modes are a separate kind of change, because the kernel needs their modules.
        ("mode",): Field("iptables", ()),
        ("configSyncPeriod",): Field(UNSET, ("10m", "20m")),
        ("metricsBindAddress",): Field("127.0.0.1:10249", ("127.0.0.1:10349",)),
        ("conntrack", "maxPerCore"): Field(UNSET, (32768, 65536)),
        ("iptables", "minSyncPeriod"): Field(UNSET, ("1s", "2s")),
    },
    "containerd": {
        ("oom_score",): Field(UNSET, (-500, -900)),
        (*IMAGES, "max_concurrent_downloads"): Field(UNSET, (2, 5)),
        (*RUNTIME, "max_container_log_line_size"): Field(UNSET, (8192, 32768)),
        (*RUNTIME, "containerd", "default_runtime_name"): Field("runc", ()),
    },
    "cni": {
        ("mtu",): Field(UNSET, (1400, 1450)),
        ("hairpinMode",): Field(True, (False,)),
    },
}
"""Fields that a change may set, by configuration key."""

FLAGS: Mapping[str, Mapping[str, Field]] = {
    "etcdFlags": {
        "snapshot-count": Field(UNSET, (5000, 20000)),
        "auto-compaction-retention": Field(UNSET, ("1h", "2h")),
    },
    "apiServerFlags": {"v": Field("2", (1, 3)), "max-requests-inflight": Field(UNSET, (300, 500))},
    "controllerManagerFlags": {"v": Field("2", (1, 3)), "concurrent-deployment-syncs": Field(UNSET, (3, 6))},
    "schedulerFlags": {"v": Field("2", (1, 3)), "profiling": Field("false", (True,))},
}
"""Flags that a change may set, by configuration key."""

MODULES = {"iptables": set(), "nftables": {"nf_tables"}, "ipvs": {"those of ipvs"}}
"""Additional kernel modules for each mode of kube-proxy."""

POLICY_MODULES = {"nf_tables", "those of kube-network-policies"}
"""Additional kernel modules for kube-network-policies."""


# Restarts.

Reads = Mapping[Role, Mapping[str, Callable[[Spec, Node], object]]]
"""For each role and service, a function that returns the parts of a spec that the service depends on."""


def predict(old: Spec, new: Spec) -> set[tuple[str, str]]:
    """Return the (node, service) pairs that restart between two specs, only for nodes in both."""
    return _differing(old, new, READS)


def predict_reloads(old: Spec, new: Spec) -> set[tuple[str, str]]:
    """Return the pairs that reload, which restarts nothing."""
    return _differing(old, new, RELOADS)


def _differing(old: Spec, new: Spec, reads: Reads) -> set[tuple[str, str]]:
    """Return the pairs whose parts differ. The parts of a service that does not exist are None."""
    before = {node.name: node for node in old.nodes}
    different = set()
    for node in new.nodes:
        for service, parts in {**reads[node.role], **(reads[Role.WORKER] if node.pod_cidr else {})}.items():
            if node.name not in before:
                continue
            pair = (parts(old, before[node.name]), parts(new, node))
            files = (_configured_files(before[node.name], service), _configured_files(node, service))
            if None not in pair and (pair[0] != pair[1] or files[0] != files[1]):
                different.add((node.name, service))
    return different


def _configured_files(node: Node, service: str) -> object:
    """Return the configured files whose change restarts or reloads a service. Mode and owner count, too."""
    return {path: file for path, file in node.files.items() if file.service == service and file.restarts}


def _kubelet(spec: Spec, node: Node) -> object:
    taints = [(taint.key, taint.value, taint.effect) for taint in node.taints]
    cluster = (spec.networks.cluster_dns, spec.networks.cluster_domain, _api_server(spec))
    # The administrator sets labels. A kubelet cannot change them on an existing Node.
    own = (effective("kubelet", node.kubelet), taints, node.kubernetes_version, node.address)
    # Since v1.36 a kubelet reads its own certificate again, but not the authority's.
    rereads = node.kubernetes_version >= "v1.36"
    certificates = spec.certificates.authority_validity if rereads else _certificates(spec)
    return own, cluster, certificates, _places(spec, node, "binaries", "kubelet"), spec.tls_bootstrap


def _kube_proxy(spec: Spec, node: Node) -> object:
    own = (effective("kubeProxy", node.kube_proxy), node.kubernetes_version)
    places = _places(spec, node, "binaries", "kube_proxy")
    return own, spec.networks.cluster_cidr, _api_server(spec), _certificates(spec), places


def _kube_network_policies(spec: Spec, node: Node) -> object:
    if not spec.network_policy:
        return None
    # It reads its own certificate again, but not the authority's.
    return _api_server(spec), spec.certificates.authority_validity, _places(spec, node, "binaries")


def _containerd(spec: Spec, node: Node) -> object:
    return effective("containerd", node.containerd), _places(spec, node, "binaries")


def _etcd(spec: Spec, node: Node) -> object:
    # A running etcd reads its members from its data directory.
    return node.address, _flags("etcdFlags", spec.flags.etcd), _certificates(spec)


def _api_server_itself(spec: Spec, node: Node) -> object:
    networks = (spec.networks.service_cidr, spec.networks.cluster_domain)
    flags = _flags("apiServerFlags", spec.flags.kube_apiserver)
    own = (flags, networks, spec.api_server_documents, spec.api_server_names, spec.emulated_version)
    return own, _members(spec), node.kubernetes_version, _certificates(spec), spec.tls_bootstrap


def _controller_manager(spec: Spec, node: Node) -> object:
    networks = (spec.networks.service_cidr, spec.networks.cluster_cidr)
    flags = _flags("controllerManagerFlags", spec.flags.kube_controller_manager)
    own = (flags, networks, _is_one_of_several(spec), spec.emulated_version)
    return own, node.address, node.kubernetes_version, _certificates(spec), spec.tls_bootstrap


def _scheduler(spec: Spec, node: Node) -> object:
    flags = _flags("schedulerFlags", spec.flags.kube_scheduler)
    own = (flags, _is_one_of_several(spec), spec.emulated_version)
    return own, node.address, node.kubernetes_version, _certificates(spec)


def _is_one_of_several(spec: Spec) -> bool:
    """Return True if there are several control planes. A single controller manager or scheduler elects no leader."""
    return len(spec.control_planes) > 1


def _addons(spec: Spec, node: Node) -> object:
    if node.name != spec.control_planes[0].name:
        return None
    replicas = min(2, len(spec.addon_candidates))
    dns = (spec.networks.cluster_dns, spec.networks.cluster_domain, replicas) if spec.addons.dns else None
    has_pods = spec.addons.dns or spec.addons.metrics_server or spec.addons.volume_folder
    pods = [placed.name for placed in spec.addon_nodes] if has_pods else None
    return (
        dns,
        spec.addons.metrics_server,
        spec.addons.volume_folder,
        pods,
        spec.network_policy,
        node.address,
        node.kubernetes_version,
        _certificates(spec),
        spec.tls_bootstrap,
    )


def _bootstrap_tokens(spec: Spec, node: Node) -> object:
    has_tokens = spec.tls_bootstrap and node.name == spec.control_planes[0].name
    return {kubelet.name for kubelet in spec.kubelets} if has_tokens else None


def _node_setup(spec: Spec, node: Node) -> object:
    routes = [(other.pod_cidr, other.address) for other in spec.kubelets if other.name != node.name]
    rules = (spec.networks.cluster_cidr, spec.networks.service_cidr, {other.address for other in spec.nodes})
    settings = (node.sysctls, _places(spec, node, "kernel_settings"))
    common = (routes, rules, spec.system_user, spec.node_folders, settings)
    if not node.pod_cidr:
        return common
    modules = MODULES[str(node.kube_proxy.get("mode", "iptables"))] | (POLICY_MODULES if spec.network_policy else set())
    return common, node.pod_cidr, effective("cni", node.cni), modules, _places(spec, node, "binaries", "cni_bridge")


def _places(spec: Spec, node: Node, *names: str) -> object:
    """Return the paths whose names start with one of `names`, except those that only a missing TLS bootstrap uses."""
    unused = () if spec.tls_bootstrap else ("kubelet_bootstrap_kubeconfig", "kubelet_client_certificates")
    paths = spec.layout.of(node).paths
    return {name: path for name, path in paths.items() if name.startswith(names) and name not in unused}


def _api_server(spec: Spec) -> object:
    return spec.control_planes[0].address


def _members(spec: Spec) -> object:
    return [(node.name, node.address) for node in spec.control_planes]


def _certificates(spec: Spec) -> object:
    """Return the validity periods, whose change signs certificates again. The renewal window depends only on time."""
    return spec.certificates.authority_validity, spec.certificates.validity


READS: Reads = {
    Role.CONTROL_PLANE: {
        "etcd": _etcd,
        "kube-apiserver": _api_server_itself,
        "kube-controller-manager": _controller_manager,
        "kube-scheduler": _scheduler,
        "addons": _addons,
        "bootstrap-tokens": _bootstrap_tokens,
    },
    Role.WORKER: {
        "containerd": _containerd,
        "kubelet": _kubelet,
        "kube-proxy": _kube_proxy,
        "kube-network-policies": _kube_network_policies,
    },
}
"""Parts of the spec whose change restarts a service."""

RELOADS: Reads = {role: {"node-setup": _node_setup} for role in Role}
"""Parts of the spec whose change reloads a service."""


def effective(key: str, overrides: Mapping[str, Any]) -> dict[Keys, Any]:
    """Return the values that a service gets, with the lab's defaults, by path."""
    values = {path: field.default for path, field in FIELDS[key].items() if field.default != UNSET}
    for path, value in leaves(overrides):
        if value is None:
            values.pop(path, None)
        else:
            values[path] = value
    return values


def leaves(fields: Mapping[str, Any], before: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Yield the values in nested mappings with their paths."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*before, name))
        else:
            yield (*before, name), value


def _flags(key: str, given: Flags) -> dict[str, object]:
    defaults = {name: field.default for name, field in FLAGS[key].items() if field.default != UNSET}
    return defaults | dict(given)


# Changes.


def default_configuration() -> Values:
    """Return the configuration of the default stack."""
    declared = yaml.safe_load((CHECKOUT / "Pulumi.dev.yaml").read_text(encoding="utf-8"))["config"]
    return {key.removeprefix("hardway:"): value for key, value in declared.items()}


Kind = Callable[[Values, random.Random], str]
"""Edits a configuration in place and returns a description."""


def spec_of(configuration: Values) -> Spec:
    """Return the spec of a configuration as the engine passes it, with sorted keys in every mapping.

    Raises:
        ConfigurationError: The configuration is invalid.
    """
    return parse(
        {
            key: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for key, value in configuration.items()
        }
    )


def draw(configuration: Values, rng: random.Random, kinds: Collection[str] | None = None) -> tuple[Values, str]:
    """Return a copy of a configuration with one valid change, and a description of the change.

    Args:
        configuration: The configuration, which stays unchanged.
        rng: Source of randomness.
        kinds: Keys of KINDS to draw from; all by default.
    """
    table = [KINDS[name] for name in kinds or KINDS]
    while True:
        candidate = copy.deepcopy(configuration)
        description = rng.choice(table)(candidate, rng)
        if candidate == configuration:
            continue
        try:
            spec_of(candidate)
        except ConfigurationError:
            continue
        return candidate, description


def _field(key: str) -> Kind:
    """Return a change of a field of a service, for all workers or for one."""

    def change(values: Values, rng: random.Random) -> str:
        holder, where = _holder(values, rng)
        path = rng.choice(sorted(FIELDS[key]))
        field = FIELDS[key][path]
        choices = [*field.others, GONE]
        if field.default != UNSET:
            choices.append(field.default)
        if field.optional:
            choices.append(None)
        value = rng.choice(choices)
        _set(holder, (key, *path), value)
        return f"{key}.{'.'.join(path)} {where}: {value}"

    return change


def _flag(values: Values, rng: random.Random) -> str:
    key = rng.choice(sorted(FLAGS))
    name = rng.choice(sorted(FLAGS[key]))
    field = FLAGS[key][name]
    value = rng.choice([*field.others, GONE, *([field.default] if field.default != UNSET else [])])
    _set(values, (key, name), value)
    return f"{key}.{name}: {value}"


def _label(values: Values, rng: random.Random) -> str:
    worker = rng.choice(values["workers"])
    name, value = rng.choice(["disk", "example.com/rack"]), rng.choice(["a", "b", GONE])
    _set(worker, ("labels", name), value)
    return f"label {name} of {worker['name']}: {value}"


def _taint(values: Values, rng: random.Random) -> str:
    worker = rng.choice(values["workers"])
    # PreferNoSchedule, so that pods can still run on every node.
    worker["taints"] = rng.sample(["purpose=build:PreferNoSchedule", "lent:PreferNoSchedule"], rng.randrange(3))
    return f"taints of {worker['name']}: {worker['taints']}"


def _own_version(values: Values, rng: random.Random) -> str:
    worker = rng.choice(values["workers"])
    version = rng.choice([*kubernetes_versions(), GONE])
    _set(worker, ("kubernetesVersion",), version)
    return f"kubernetesVersion of {worker['name']}: {version}"


def _version(values: Values, rng: random.Random) -> str:
    version = rng.choice([*kubernetes_versions(), GONE])
    _set(values, ("kubernetesVersion",), version)
    return f"kubernetesVersion: {version}"


def _worker_added(values: Values, rng: random.Random) -> str:
    names = {worker["name"] for worker in values["workers"]}
    number = rng.choice([number for number in range(6) if f"node-{number}" not in names] or [0])
    worker = {
        "name": f"node-{number}",
        "address": f"10.240.0.{20 + number}",
        "podCidr": f"10.200.{number}.0/24",
    }
    values["workers"].insert(rng.randint(0, len(values["workers"])), worker)
    return f"{worker['name']} added"


def _worker_removed(values: Values, rng: random.Random) -> str:
    if len(values["workers"]) == 1:
        return "nothing: one worker is kept"
    return f"{values['workers'].pop(rng.randrange(len(values['workers'])))['name']} removed"


def _control_plane(values: Values, rng: random.Random) -> str:
    if len(values["controlPlanes"]) > 1:
        return f"{values['controlPlanes'].pop()['name']} removed"
    values["controlPlanes"].append({"name": "server-2", "address": f"10.240.0.{rng.choice([11, 12])}"})
    return "server-2 added"


def _registry(values: Values, rng: random.Random) -> str:
    """Set a mirror of a registry, which restarts nothing."""
    holder, where = _holder(values, rng)
    mirrors = [[], ["http://10.240.0.1:5000"], ["http://10.240.0.1:5000", "http://10.240.0.1:5001"]]
    holder["registries"] = [{"host": "registry.example:5000", "mirrors": rng.choice(mirrors)}]
    return f"registries {where}: {holder['registries']}"


def _file(values: Values, rng: random.Random) -> str:
    """Set or remove a file of a service."""
    holder, where = _holder(values, rng)
    path = rng.choice(["/etc/kubernetes/a.conf", "/etc/kubernetes/b.conf"])
    service, effect = rng.choice([("kubelet", "restart"), ("kubelet", "none"), ("node-setup", ""), ("containerd", "")])
    file = {"text": rng.choice(["one", "two"]), "service": service, "onChange": effect}
    value = rng.choice([GONE, file])
    _set(holder, ("files", path), value)
    return f"files {path} {where}: {value}"


def _moved(values: Values, rng: random.Random) -> str:
    """Move a field from the configuration of all workers to each worker, which changes nothing."""
    key = rng.choice(sorted(FIELDS))
    set_for_all = [path for path, _ in leaves(values.get(key, {}))]
    if not set_for_all:
        return "nothing: no field is set for all"
    path = rng.choice(set_for_all)
    value = _get(values[key], path)
    for worker in values["workers"]:
        if path not in dict(leaves(worker.get(key, {}))):
            _set(worker, (key, *path), value)
    _set(values, (key, *path), GONE)
    return f"{key}.{'.'.join(path)} moved from all workers to each"


def _one_of(choices: Mapping[str, tuple[Any, ...]]) -> Kind:
    """Return a change that sets a key of the whole lab to another of its values."""

    def change(values: Values, rng: random.Random) -> str:
        key = rng.choice(sorted(choices))
        values[key] = rng.choice(choices[key])
        return f"{key}: {values[key]}"

    return change


def _proxy_mode(values: Values, rng: random.Random) -> str:
    holder, where = _holder(values, rng)
    mode = rng.choice(["iptables", "nftables", "ipvs", GONE])
    _set(holder, ("kubeProxy", "mode"), mode)
    return f"kubeProxy.mode {where}: {mode}"


def _pod_cidr(values: Values, rng: random.Random) -> str:
    worker = rng.choice(values["workers"])
    worker["podCidr"] = f"10.200.{rng.randrange(10, 99)}.0/24"
    return f"podCidr of {worker['name']}: {worker['podCidr']}"


def _layout(values: Values, rng: random.Random) -> str:
    key, path = rng.choice(
        [
            ("binaries", "/usr/local/sbin"),
            ("kubeletConfiguration", "/etc/kubernetes/kubelet.yaml"),
            ("kubeletClientCertificates", "/etc/kubernetes/pki"),
            ("kubeletKey", "/etc/kubernetes/pki/{name}.key"),
            ("kubeProxyKubeconfig", "/etc/kubernetes/kube-proxy.kubeconfig"),
            ("cniBridge", "/etc/cni/net.d/10-bridge-of-{name}.conf"),
            ("cniBridge", "/etc/cni/net.d/10-bridge.conf"),
            ("kernelSettings", "/etc/sysctl.d/90-{name}.conf"),
        ]
    )
    path = rng.choice([path, GONE])
    _set(values, ("layout", key), path)
    return f"layout.{key}: {path}"


KINDS: Mapping[str, Kind] = {
    "kubelet field": _field("kubelet"),
    "kube-proxy field": _field("kubeProxy"),
    "containerd field": _field("containerd"),
    "CNI field": _field("cni"),
    "control plane flag": _flag,
    "registry": _registry,
    "file": _file,
    "kernel setting": _one_of({"sysctls": ({}, {"vm.max_map_count": 262144}, {"vm.max_map_count": 524288})}),
    "document of the API server": _one_of(
        {
            "auditPolicy": ({}, {"rules": [{"level": "Metadata"}]}, {"rules": [{"level": "None"}]}),
            "admission": (
                {},
                {"plugins": [{"name": "PodSecurity", "configuration": {"defaults": {"warn": "baseline"}}}]},
            ),
            "apiServerNames": ([], ["api.example.com", "192.0.2.1"]),
        }
    ),
    "label": _label,
    "taint": _taint,
    "field moved": _moved,
    "DNS add-on": _one_of({"clusterDnsAddon": (True, False)}),
    "metrics-server": _one_of({"addons": ({}, {"metricsServer": {"enabled": False}})}),
    "default StorageClass": _one_of(
        {"addons": ({}, {"localPath": {"enabled": False}}, {"localPath": {"path": "/srv/volumes"}})}
    ),
    "network policies": _one_of({"networkPolicy": (True, False)}),
    "no service": _one_of(
        {
            "maxUnavailable": ("1", "2", "50%"),
            "drainGracePeriodSeconds": (30, 5),
            "drainTimeoutSeconds": (300, 60),
            "drainTimeoutAction": ("fail", "continue"),
            "maxDisruption": ("", "recreate"),
            "healthTimeoutSeconds": (300, 400),
            "canaryCommand": ("", "true"),
            "onFailure": ("stop", "rollback"),
            "certificateRenewalHours": (720, 48),
            "adminCertificateHours": (12, 4),
        }
    ),
    # Not on a running lab, whose nodes would return after a plain `pulumi up`.
    "confirmation": _one_of({"confirmWithin": ("", "10m", "1h30m")}),
    "worker added": _worker_added,
    "worker removed": _worker_removed,
    "version of a worker": _own_version,
    "version": _version,
    "emulated version": _one_of({"emulate": ("", "v1.36")}),
    "kube-proxy mode": _proxy_mode,
    "pod CIDR": _pod_cidr,
    "certificates": _one_of(
        {"certificateValidityHours": (8760, 4380), "certificateAuthorityValidityHours": (87600, 43800)}
    ),
    "networks": _one_of(
        {
            "clusterDomain": ("cluster.local", "lab.example"),
            "clusterDns": ("10.32.0.10", "10.32.0.53"),
            "clusterCidr": ("10.200.0.0/16", "10.192.0.0/12"),
            "serviceCidr": ("10.32.0.0/24", "10.32.0.0/20"),
        }
    ),
    "control plane": _control_plane,
    "TLS bootstrap": _one_of({"tlsBootstrap": (True, False)}),
    "layout": _layout,
    "users and folders": _one_of(
        {
            "systemUser": ({}, {"name": "kubernetes"}),
            "nodeFolders": ([], [{"path": "/etc/kubernetes", "mode": "0750"}]),
        }
    ),
}
"""Kinds of changes."""

IN_PLACE = (
    "kubelet field",
    "kube-proxy field",
    "containerd field",
    "CNI field",
    "control plane flag",
    "label",
    "taint",
)
"""Kinds that an update applies to the machines and binaries that nodes have."""

ON_A_RUNNING_LAB = (
    *IN_PLACE,
    "field moved",
    "DNS add-on",
    "no service",
)
"""Kinds that a running lab accepts without new machines or binaries, and after which its pods still work."""


def _holder(values: Values, rng: random.Random) -> tuple[Values, str]:
    """Choose where to set a field: in the configuration of all workers or of one."""
    worker = rng.choice([None, *values["workers"]])
    return (values, "of all workers") if worker is None else (worker, f"of {worker['name']}")


def _get(values: Values, path: Keys) -> Any:
    for key in path:
        values = values[key]
    return values


def _set(values: Values, path: Keys, value: Any) -> None:
    """Set a value in nested mappings, or remove it together with mappings that become empty."""
    key, rest = path[0], path[1:]
    if rest:
        within = values.setdefault(key, {})
        _set(within, rest, value)
        if not within:
            del values[key]
    elif value == GONE:
        values.pop(key, None)
    else:
        values[key] = value
