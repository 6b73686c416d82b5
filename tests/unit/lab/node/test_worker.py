"""The services that run pods on a node."""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from lab.node.worker import containerd, kubelet
from lab.spec import Spec


def runtime_settings(spec: Spec) -> dict[str, Any]:
    """Return the settings of containerd's runtime plugin on the first worker."""
    text = containerd(spec, spec.workers[0]).visible_files["/etc/containerd/config.toml"]
    settings: dict[str, Any] = tomllib.loads(text)["plugins"]["io.containerd.cri.v1.runtime"]
    return settings


@pytest.mark.parametrize(
    ("version", "cni", "period"),
    [
        ("v2.0.5", {"bin_dir": "/opt/cni/bin"}, None),
        ("v2.2.1", {"bin_dirs": ["/opt/cni/bin"]}, None),
        ("v2.3.0", {"bin_dirs": ["/opt/cni/bin"]}, "10s"),
    ],
)
def test_older_containerd_gets_only_settings_that_it_knows(
    dev: Spec, version: str, cni: dict[str, Any], period: str | None
) -> None:
    settings = runtime_settings(replace(dev, versions={"containerd": version}))
    assert settings["cni"] == {**cni, "conf_dir": "/etc/cni/net.d"}
    assert settings.get("stats_collect_period") == period


CPUS, MEMORY = "/var/lib/kubelet/cpu_manager_state", "/var/lib/kubelet/memory_manager_state"
RESERVED = [{"numaNode": 0, "limits": {"memory": "356Mi"}}]


def state_files(spec: Spec, **fields: Any) -> Mapping[str, str]:
    """Return the state files of the first worker's kubelet with the given fields."""
    return kubelet(spec, replace(spec.workers[0], kubelet=fields)).state_files


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"maxPods": 50},
        {"cpuManagerPolicy": "none", "memoryManagerPolicy": "None"},
        {"reservedSystemCPUs": "0", "topologyManagerPolicy": "restricted", "kubeReserved": {"cpu": "1"}},
    ],
)
def test_default_policies_have_no_state_files(dev: Spec, fields: dict[str, Any]) -> None:
    assert state_files(dev, **fields) == {}


@pytest.mark.parametrize(
    ("policy", "fields", "changed"),
    [
        ({"cpuManagerPolicy": "static"}, {}, set()),
        ({"cpuManagerPolicy": "static"}, {"maxPods": 50, "systemReserved": {"memory": "1Gi"}}, set()),
        ({"cpuManagerPolicy": "static"}, {"topologyManagerPolicy": "none", "cpuManagerPolicyOptions": {}}, set()),
        ({"cpuManagerPolicy": "static"}, {"reservedSystemCPUs": "0"}, {CPUS}),
        ({"cpuManagerPolicy": "static"}, {"systemReserved": {"cpu": "1"}}, {CPUS}),
        ({"cpuManagerPolicy": "static", "reservedSystemCPUs": "0"}, {"systemReserved": {"cpu": "1"}}, set()),
        ({"cpuManagerPolicy": "static"}, {"cpuManagerPolicyOptions": {"strict-cpu-reservation": "true"}}, {CPUS}),
        ({"cpuManagerPolicy": "static"}, {"topologyManagerScope": "pod"}, {CPUS}),
        ({"memoryManagerPolicy": "Static"}, {"reservedMemory": RESERVED}, {MEMORY}),
        ({"memoryManagerPolicy": "Static"}, {"cpuManagerPolicy": "static"}, {CPUS}),
        ({"memoryManagerPolicy": "Static"}, {"topologyManagerPolicy": "restricted"}, {MEMORY}),
    ],
)
def test_state_files_have_the_settings_that_they_depend_on(
    dev: Spec, policy: dict[str, Any], fields: dict[str, Any], changed: set[str]
) -> None:
    before, after = state_files(dev, **policy), state_files(dev, **policy, **fields)
    assert before
    assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == changed
