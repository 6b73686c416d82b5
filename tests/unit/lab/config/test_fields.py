"""Fields, flags and feature gates in overrides are checked against the tables of each version."""

import shlex
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import yaml

from lab.config.fields import tables
from lab.config.fields.check import field_problems, flag_explanation
from lab.config.fields.tables import table
from lab.config.fields.values import DURATION, QUANTITY, flag_problem, threshold
from lab.config.overrides import FLAG_TABLES, PROTECTED_FIELDS, PROTECTED_FLAGS, TABLES
from lab.config.parse import ConfigurationError, parse
from lab.config.problems import Problem
from lab.node.render import services_of
from lab.versions import kubernetes_versions, minor, node_sources
from tests.support.stacks import NAMES, configuration

NODE_0 = {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"}
NODE_1 = {"name": "node-1", "address": "10.240.0.21", "podCidr": "10.200.1.0/24"}
EMULATING = {
    "kubernetesVersion": "v1.36.3",
    "emulate": "v1.36",
    "controlPlanes": [{"name": "server", "address": "10.240.0.10", "kubernetesVersion": "v1.37.2"}],
}
"""A lab whose control plane v1.37.2 emulates v1.36."""


def problems_of(values: Mapping[str, Any]) -> tuple[Problem, ...]:
    try:
        parse(values)
    except ConfigurationError as error:
        return error.problems
    return ()


def runc(**options: object) -> dict[str, Any]:
    """Return an override of the options of runc."""
    runtimes = {"runc": {"options": options}}
    return {"containerd": {"plugins": {"io.containerd.cri.v1.runtime": {"containerd": {"runtimes": runtimes}}}}}


class Refused(NamedTuple):
    """An override, the key of its only problem, and a part of the message."""

    values: Mapping[str, Any]
    key: str
    fragment: str


REFUSED = {
    "misspelled field": Refused({"kubelet": {"maxPodz": 1}}, "kubelet.maxPodz", "did you mean maxPods?"),
    "misspelled nested field": Refused(
        {"kubeProxy": {"conntrack": {"maxPerCores": 1}}}, "kubeProxy.conntrack.maxPerCores", "did you mean maxPerCore?"
    ),
    "unknown mode": Refused({"kubeProxy": {"mode": "ebpf"}}, "kubeProxy.mode", "one of iptables, ipvs, nftables"),
    "threshold": Refused(
        {"kubelet": {"evictionHard": {"memory.available": "lots"}}}, "kubelet.evictionHard.memory.available", "as 100Mi"
    ),
    "eviction signal": Refused(
        {"kubelet": {"evictionHard": {"memory.avail": "5%"}}},
        "kubelet.evictionHard.memory.avail",
        "did you mean memory.",
    ),
    "resource that cannot be reserved": Refused(
        {"kubelet": {"systemReserved": {"hugepages": "1"}}},
        "kubelet.systemReserved.hugepages",
        "known names are cpu, memory",
    ),
    "number for a duration": Refused(
        {"kubelet": {"streamingConnectionIdleTimeout": 300}},
        "kubelet.streamingConnectionIdleTimeout",
        "must be a duration such as 30s, in quotes",
    ),
    "duration without a unit": Refused({"kubelet": {"syncFrequency": "60"}}, "kubelet.syncFrequency", "with its units"),
    "text for a number": Refused({"kubelet": {"podsPerCore": "5"}}, "kubelet.podsPerCore", "without quotes"),
    "number that is too large": Refused({"kubelet": {"podsPerCore": 2**31}}, "kubelet.podsPerCore", "to 2147483647"),
    "text for a boolean": Refused({"kubelet": {"failSwapOn": "false"}}, "kubelet.failSwapOn", "without quotes"),
    "item of a list": Refused({"kubelet": {"clusterDNS": ["10.0.0.1", 5]}}, "kubelet.clusterDNS[1]", "must be text"),
    "text for a list": Refused({"kubelet": {"clusterDNS": "10.0.0.1"}}, "kubelet.clusterDNS", "must be a list"),
    "text for a mapping": Refused({"kubelet": {"systemReserved": "1Gi"}}, "kubelet.systemReserved", "be a mapping"),
    "enumeration": Refused(
        {"kubelet": {"configMapAndSecretChangeDetectionStrategy": "Push"}},
        "kubelet.configMapAndSecretChangeDetectionStrategy",
        "one of Cache, Get, Watch",
    ),
    "feature gate": Refused(
        {"kubelet": {"featureGates": {"MemoryQos": True}}}, "kubelet.featureGates.MemoryQos", "did you mean MemoryQoS?"
    ),
    "locked feature gate": Refused(
        {"kubernetesVersion": "v1.36.3", "kubeProxy": {"featureGates": {"SidecarContainers": False}}},
        "kubeProxy.featureGates.SidecarContainers",
        "is always true in v1.36",
    ),
    "plugin of containerd": Refused(
        {"containerd": {"plugins": {"io.containerd.cri.v1.runtimes": {}}}},
        "containerd.plugins.io.containerd.cri.v1.runtimes",
        "did you mean io.containerd.cri.v1.runtime?",
    ),
    "option of runc": Refused(
        runc(SystemdCgrup=True),
        "containerd.plugins.io.containerd.cri.v1.runtime.containerd.runtimes.runc.options.SystemdCgrup",
        "did you mean SystemdCgroup?",
    ),
    "misspelled flag": Refused(
        {"apiServerFlags": {"audit-log-maxages": 3}},
        "apiServerFlags.audit-log-maxages",
        "did you mean audit-log-maxage?",
    ),
    "flag of another program": Refused(
        {"schedulerFlags": {"node-monitor-period": "5s"}}, "schedulerFlags.node-monitor-period", "kube-scheduler"
    ),
    "type of a flag": Refused({"etcdFlags": {"quota-backend-bytes": "8G"}}, "etcdFlags.quota-backend-bytes", "number"),
    "mode of a flag": Refused(
        {"apiServerFlags": {"authorization-mode": "Node,RBCA"}}, "apiServerFlags.authorization-mode", "Node, RBAC"
    ),
    "admission plugin": Refused(
        {"apiServerFlags": {"enable-admission-plugins": "NodeRestriction,PodSecurty"}},
        "apiServerFlags.enable-admission-plugins",
        "did you mean PodSecurity?",
    ),
    "feature gate in a flag": Refused(
        {"schedulerFlags": {"feature-gates": "AllAlpha=false,Foo=true"}}, "schedulerFlags.feature-gates", "contains Foo"
    ),
    "gate that is locked since the emulated version": Refused(
        {**EMULATING, "apiServerFlags": {"feature-gates": "CRDValidationRatcheting=false"}},
        "apiServerFlags.feature-gates",
        "is always true in v1.36",
    ),
    "gate that the emulated version does not have": Refused(
        {**EMULATING, "schedulerFlags": {"feature-gates": "CompositePodGroup=true"}},
        "schedulerFlags.feature-gates",
        "is not a feature gate in v1.36; only v1.37",
    ),
    "gate without a value": Refused(
        {"schedulerFlags": {"feature-gates": "MemoryQoS"}}, "schedulerFlags.feature-gates", "such as MemoryQoS=true"
    ),
    "feature gate of etcd": Refused(
        {"etcdFlags": {"feature-gates": "MemoryQoS=true"}}, "etcdFlags.feature-gates", "not a feature gate"
    ),
    "field that the version does not have": Refused(
        {"kubernetesVersion": "v1.31.0", "kubelet": {"mergeDefaultEvictionSettings": True}},
        "kubelet.mergeDefaultEvictionSettings",
        "is not a field of the kubelet's configuration in v1.31; only v1.35 and newer have it",
    ),
    "field that the version does not have any more": Refused(
        {"etcdFlags": {"enable-v2": True}},
        "etcdFlags.enable-v2",
        "is not a flag of etcd",
    ),
    "field of a node that its version does not have": Refused(
        {"workers": [NODE_0, NODE_1 | {"kubernetesVersion": "v1.35.4", "kubelet": {"tlsCurvePreferences": [29]}}]},
        "workers[1].kubelet.tlsCurvePreferences",
        "in v1.35",
    ),
    "field of the lab that a node's version does not have": Refused(
        {"kubelet": {"tlsCurvePreferences": [29]}, "workers": [NODE_0, NODE_1 | {"kubernetesVersion": "v1.35.4"}]},
        "kubelet.tlsCurvePreferences",
        "in v1.35",
    ),
    "flag that the version does not have": Refused(
        {"kubernetesVersion": "v1.31.0", "apiServerFlags": {"tls-curve-preferences": "X25519"}},
        "apiServerFlags.tls-curve-preferences",
        "is not a flag of kube-apiserver in v1.31",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_override_is_refused(case: Refused) -> None:
    [problem] = problems_of(case.values)
    assert problem.key == f"hardway:{case.key}"
    assert case.fragment in problem.explanation


ACCEPTED: Mapping[str, Mapping[str, Any]] = {
    "field that a node with an older version removes": {
        "kubelet": {"tlsCurvePreferences": [29]},
        "workers": [NODE_0, NODE_1 | {"kubernetesVersion": "v1.35.4", "kubelet": {"tlsCurvePreferences": None}}],
    },
    "removed field": {"kubelet": {"evictionHard": None, "maxPods": None}},
    "threshold": {"kubelet": {"evictionHard": {"memory.available": "5%", "nodefs.available": "1.5Gi"}}},
    "empty text, which means the default": {"kubelet": {"cgroupDriver": "", "logging": {"format": ""}}},
    "quantity as a number": {"kubelet": {"logging": {"options": {"json": {"infoBufferSize": 0}}}}},
    "unlocked feature gates": {"kubelet": {"featureGates": {"MemoryQoS": True, "AllBeta": False}}},
    "gate set to the value to which it is locked": {
        "kubernetesVersion": "v1.36.3",
        "kubelet": {"featureGates": {"SidecarContainers": True}},
    },
    "flag of a newer version than those in the table": {
        "versions": {"etcd": "v3.7.3"},
        "etcdFlags": {"no-such-flag": True},
    },
    "gate of a component": {"apiServerFlags": {"feature-gates": "kube:MemoryQoS=true"}},
    "gate that the emulated version can change": {
        **EMULATING,
        "apiServerFlags": {"feature-gates": "kube:HPAConfigurableTolerance=false"},
    },
    "another case, which containerd's TOML library ignores": runc(systemdcgroup=True),
    "runtime of the user": {
        "containerd": {
            "plugins": {
                "io.containerd.cri.v1.runtime": {
                    "containerd": {
                        "runtimes": {"runsc": {"runtime_type": "io.containerd.runsc.v1", "options": {"a": 1}}}
                    }
                }
            }
        }
    },
    "key with dots": {"containerd": {"timeouts": {"io.containerd.timeout.task.state": "2s"}}},
    "numbers of etcd": {"etcdFlags": {"quota-backend-bytes": 8589934592, "auto-compaction-retention": 1}},
}


@pytest.mark.parametrize("values", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_right_override_is_accepted(values: Mapping[str, Any]) -> None:
    assert problems_of(values) == ()


def test_a_misspelled_field_of_the_lab_is_reported_once() -> None:
    [problem] = problems_of({"kubelet": {"maxPodz": 1}, "workers": [NODE_0, NODE_1 | {"kubernetesVersion": "v1.35.4"}]})
    assert problem.key == "hardway:kubelet.maxPodz"


def test_a_message_does_not_show_a_secret_value() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse({"kubelet": {"maxPodz": "hunter2", "podsPerCore": "hunter2"}}, secret=["hardway:kubelet"])
    assert len(caught.value.problems) == 2
    assert "hunter2" not in str(caught.value)


def rendered(stack: str, version: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the documents and flags that the lab renders for a stack, with the names of their tables."""
    values = configuration(stack)
    spec = parse({**values, "kubernetesVersion": version})
    for node in spec.nodes:
        for service in services_of(spec, node):
            for path, text in service.visible_files.items():
                if path.endswith((".service",)) and service.name in FLAG_TABLES.values():
                    [line] = [line for line in text.replace("\\\n", "").splitlines() if line.startswith("ExecStart=")]
                    words = [word for word in shlex.split(line) if word.startswith("--")]
                    yield service.name, dict(word.removeprefix("--").split("=", 1) for word in words)
                elif path.endswith("config.toml"):
                    yield "containerd", tomllib.loads(text)
                elif "kubelet.config.k8s.io" in text:
                    yield "kubelet", yaml.safe_load(text)
                elif "kubeproxy.config.k8s.io" in text:
                    yield "kube-proxy", yaml.safe_load(text)


@pytest.mark.parametrize("version", kubernetes_versions())
@pytest.mark.parametrize("stack", NAMES)
def test_the_lab_renders_nothing_that_the_check_refuses(stack: str, version: str) -> None:
    checked = set()
    for name, values in rendered(stack, version):
        checked.add(name)
        source = name if name in ("containerd", "etcd") else "kubernetes"
        number = minor(version if source == "kubernetes" else node_sources()[source].versions[0])
        if name in FLAG_TABLES.values():
            assert {
                flag: flag_explanation(name, flag, value, number) for flag, value in values.items()
            } == dict.fromkeys(values, "")
        else:
            assert list(field_problems(name, values, number)) == []
    assert checked >= set(TABLES.values())
    assert stack in ("join",) or checked >= set(FLAG_TABLES.values())


@pytest.mark.parametrize("name", [*TABLES.values(), *FLAG_TABLES.values(), "feature-gates", "admission-plugins"])
def test_a_table_has_every_supported_version(name: str) -> None:
    source = name if name in ("containerd", "etcd") else "kubernetes"
    assert {minor(version) for version in node_sources()[source].versions} <= set(table(name).minors)


def test_every_protected_name_is_in_a_table() -> None:
    """A protected field or flag with a wrong name would protect nothing."""
    for service, fields in PROTECTED_FIELDS.items():
        for path in fields if service in TABLES else ():
            one = table(TABLES[service]).root
            for key in path:
                one = one.children[key]
    for flags_key, flags in PROTECTED_FLAGS.items():
        assert set(flags) <= set(table(FLAG_TABLES[flags_key]).names)


@pytest.fixture
def two_versions(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A table of the versions v1.30.0 and v1.35.0."""
    lines = [
        "# v1.30.0 v1.35.0",
        "always int32",
        "old bool -30",
        "new bool 35-",
        "changed bool -30",
        "changed string 35-",
    ]
    (tmp_path / "kubelet.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    table.cache_clear()
    yield
    table.cache_clear()


@pytest.mark.usefixtures("two_versions")
@pytest.mark.parametrize(
    ("overrides", "minor_version", "refused"),
    [
        ({"new": True}, 35, False),
        ({"new": True}, 30, True),
        ({"new": True}, 33, False),
        ({"old": True}, 33, False),
        ({"old": True}, 35, True),
        ({"never": True}, 33, True),
        ({"never": True}, 29, False),
        ({"never": True}, 36, False),
        ({"always": "x"}, 36, True),
        ({"changed": "x"}, 30, True),
        ({"changed": "x"}, 35, False),
        ({"changed": True}, 35, True),
        ({"old": True, "new": True, "always": 1}, None, False),
        ({"never": True}, None, True),
    ],
)
def test_a_version_between_two_tables_has_the_fields_of_both(
    overrides: Mapping[str, Any], minor_version: int | None, refused: bool
) -> None:
    assert bool(list(field_problems("kubelet", overrides, minor_version))) is refused


@pytest.mark.parametrize("text", ["0", "5m", "1h30m", "1.5h", ".5s", "-1s", "100us", "+3ms"])
def test_durations_of_go(text: str) -> None:
    assert DURATION.fullmatch(text)


@pytest.mark.parametrize("text", ["", "5", "m", "1d", "5 m", "1h 30m", "5M"])
def test_texts_that_are_no_durations(text: str) -> None:
    assert not DURATION.fullmatch(text)


@pytest.mark.parametrize("text", ["0", "1", "100m", "1.5Gi", "10Mi", "1e3", "2E", "5k", "100n"])
def test_quantities(text: str) -> None:
    assert QUANTITY.fullmatch(text)


@pytest.mark.parametrize("text", ["", "lots", "1GB", "1 Gi", "5%", "1K"])
def test_texts_that_are_no_quantities(text: str) -> None:
    assert not QUANTITY.fullmatch(text)


@pytest.mark.parametrize("text", ["101%", "-5%", "-1Gi", "%", "", "5 %"])
def test_texts_that_are_no_thresholds(text: str) -> None:
    assert threshold(text)


@pytest.mark.parametrize(
    ("kind", "value", "accepted"),
    [
        ("int", "0x10", True),
        ("int", "010", True),
        ("int", "08", False),
        ("int", "1.0", False),
        ("uint", "-1", False),
        ("bool", "T", True),
        ("bool", "yes", False),
        ("float", "1e3", True),
        ("float", "x", False),
        ("ip", "10.0.0.1", True),
        ("ip", "10.0.0", False),
        ("duration", "0", True),
        ("texts", "a,b", True),
    ],
)
def test_values_of_flags(kind: str, value: str, accepted: bool) -> None:
    assert (flag_problem(kind, value) == "") is accepted
