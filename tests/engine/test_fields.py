"""The tables of fields and flags, and the checks of values, against the programs themselves.

Each test uses the versions of the programs that are in the cache, because building them takes minutes.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.fields.check import field_problems, flag_explanation
from lab.config.fields.tables import table
from lab.config.fields.values import flag_problem
from lab.versions import minor, node_sources
from toolchain import binaries
from toolchain.store import ArtifactStore

SOURCES = {"etcd": "etcd", "containerd": "containerd"}

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")


def cached(name: str) -> dict[str, Path]:
    """Return the cached programs of a name by version. Skip the test if there is none."""
    store, found = ArtifactStore(), {}
    for version in node_sources()[SOURCES.get(name, "kubernetes")].versions:
        [recipe] = binaries.recipes_for([(name, version)])
        entry = store.find(recipe)
        if entry is not None:
            found[version] = entry.path(name)
    if not found:
        pytest.skip(f"{name} is not in the cache")
    return found


def run(*command: str | Path) -> tuple[int, str]:
    """Run a program. Return its exit code and all of its output."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL, timeout=600
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", CONTROL_PLANE)
def test_every_flag_in_the_help_is_in_the_table(name: str) -> None:
    for version, program in cached(name).items():
        flags = set(re.findall(r"^ +(?:-[a-zA-Z], )?--([a-zA-Z0-9.-]+)", run(program, "--help")[1], re.MULTILINE))
        assert len(flags) > 50
        unknown = {one for one in flags if "not a flag" in flag_explanation(name, one, "x", minor(version))}
        # etcd's help still lists flags that etcd does not have any more.
        assert {one for one in unknown if run(program, f"--{one}=x", "--version")[0] == 0} == set()
        assert len(unknown) < 5


@pytest.mark.parametrize("name", CONTROL_PLANE[:3])
def test_every_feature_gate_in_the_help_is_in_the_table(name: str) -> None:
    for version, program in cached(name).items():
        gates = set(re.findall(r"(?:kube:)?\b([A-Z][A-Za-z0-9]+)=true\|false", run(program, "--help")[1]))
        assert len(gates) > 50
        settings = {f"{gate}={value}" for gate in gates for value in ("true", "false")}
        problems = {one: flag_explanation(name, "feature-gates", one, minor(version)) for one in settings}
        assert {one for one, problem in problems.items() if problem} == set()


UNCHECKED = ("any", "texts", "string", "quantity")
"""The kinds of flags without a check, and quantities: the program reads a suffix without a number as zero."""

VALUES = ("5", "5s", "1h30m", "x", "true", "T", "1.5", "10.0.0.1", "0x10", "08", "-1", "1Gi", "")


@pytest.mark.parametrize("name", ["kube-scheduler", "etcd"])
def test_the_program_and_the_check_agree_about_values_of_flags(name: str) -> None:
    """One flag of each kind with the same values; `--version` ends the program after it read its flags."""
    for version, program in cached(name).items():
        kinds: dict[str, str] = {}
        for flag, one in table(name).names.items():
            variant = table(name).variant(one, minor(version))
            if variant and variant.kind not in UNCHECKED and flag not in ("version", "help"):
                kinds.setdefault(variant.kind, flag)
        assert {"bool", "duration", "int"} <= set(kinds)
        for kind, flag in kinds.items():
            for value in VALUES:
                code, output = run(program, f"--{flag}={value}", "--version")
                assert (code == 0) == (flag_problem(kind, value) == ""), f"--{flag}={value} ({kind}): {output}"
        assert run(program, "--no-such-flag=1", "--version")[0] != 0


def test_the_defaults_of_containerd_are_accepted() -> None:
    for version, program in cached("containerd").items():
        code, text = run(program, "config", "default")
        assert code == 0
        assert list(field_problems("containerd", tomllib.loads(text), minor(version))) == []


def test_the_defaults_of_kube_proxy_are_accepted(tmp_path: Path) -> None:
    for version, program in cached("kube-proxy").items():
        assert run(program, "--write-config-to", tmp_path / "defaults.yaml")[0] == 0
        defaults = yaml.safe_load((tmp_path / "defaults.yaml").read_text())
        assert list(field_problems("kube-proxy", defaults, minor(version))) == []


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"mode": "ebpf"}, True),
        ({"mode": "nftables"}, False),
        ({"mode": ""}, False),
        ({"modes": "nftables"}, True),
        ({"conntrack": {"min": -1}}, True),
        ({"conntrack": {"tcpCloseWaitTimeout": "5"}}, True),
        ({"conntrack": {"tcpCloseWaitTimeout": 5}}, True),
        ({"conntrack": {"tcpCloseWaitTimeout": "1h30m"}}, False),
        ({"iptables": {"masqueradeBit": 32}}, True),
        ({"nodePortAddresses": ["primary"]}, False),
        ({"nodePortAddresses": ["10.0.0.0"]}, True),
        ({"metricsBindAddress": "10.0.0.1"}, False),
        ({"metricsBindAddress": "localhost:1"}, True),
        ({"metricsBindAddress": "[::1]:10249"}, False),
        ({"bindAddress": "x"}, True),
        ({"detectLocalMode": "clusterCIDR"}, True),
        ({"featureGates": {"NoSuchGate": True}}, True),
        ({"featureGates": {"AggregatedDiscoveryRemoveBetaType": False}}, True),
        ({"featureGates": {"AggregatedDiscoveryRemoveBetaType": True}}, False),
        ({"clientConnection": {"qps": "5"}}, True),
        ({"clientConnection": {"qps": 5.5}}, False),
        ({"logging": {"format": "xml"}}, True),
        ({"logging": {"flushFrequency": 5}}, False),
        ({"oomScoreAdj": 2000}, True),
    ],
    ids=str,
)
def test_kube_proxy_and_the_check_agree(fields: Mapping[str, Any], refused: bool, tmp_path: Path) -> None:
    header = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**header, **fields}))
    for version, program in cached("kube-proxy").items():
        code, output = run(program, "--config", tmp_path / "config.yaml", "--write-config-to", "/dev/null")
        assert (code != 0 or "enient decoding" in output) is refused, output
        assert bool(list(field_problems("kube-proxy", fields, minor(version)))) is refused


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"maxPodz": 1}, True),
        ({"podsPerCore": -1}, True),
        ({"podsPerCore": "1"}, True),
        ({"podsPerCore": 10}, False),
        ({"topologyManagerPolicy": "best"}, True),
        ({"topologyManagerPolicy": "restricted"}, False),
        ({"topologyManagerPolicy": ""}, False),
        ({"topologyManagerScope": "node"}, True),
        ({"hairpinMode": "yes"}, True),
        ({"imageGCHighThresholdPercent": 101}, True),
        ({"imageGCHighThresholdPercent": 90}, False),
        ({"enforceNodeAllocatable": ["pod"]}, True),
        ({"enforceNodeAllocatable": ["none"]}, False),
        ({"memorySwap": {"swapBehavior": "Unlimited"}}, True),
        ({"memorySwap": {"swapBehavior": "LimitedSwap"}}, False),
        ({"syncFrequency": "5"}, True),
        ({"syncFrequency": "5m"}, False),
        ({"syncFrequency": 5}, True),
        ({"readOnlyPort": 65536}, True),
        ({"reservedSystemCPUs": "a"}, True),
        ({"reservedSystemCPUs": "0-3,8"}, False),
        ({"featureGates": {"NoSuchGate": True}}, True),
        ({"featureGates": {"AggregatedDiscoveryRemoveBetaType": False}}, True),
        ({"logging": {"format": "xml"}}, True),
        ({"systemReserved": {"cpu": 1}}, True),
        ({"systemReserved": {"cpu": "1"}}, False),
        ({"clusterDNS": "10.0.0.1"}, True),
        ({"containerLogMaxFiles": 1}, True),
        ({"nodeStatusMaxImages": -2}, True),
        ({"maxParallelImagePulls": 0}, True),
        ({"eventRecordQPS": -1}, True),
        ({"nodeLeaseDurationSeconds": -1}, True),
        ({"nodeLeaseDurationSeconds": 0}, False),
        ({"port": 0}, False),
    ],
    ids=str,
)
def test_the_kubelet_and_the_check_agree(fields: Mapping[str, Any], refused: bool, tmp_path: Path) -> None:
    """The kubelet lists all mistakes and ends, because the configuration always has one: its OOM score."""
    header = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "oomScoreAdj": 5000}
    for version, program in cached("kubelet").items():
        outputs = []
        for number, configuration in enumerate([header, {**header, **fields}]):
            path = tmp_path / f"{number}.yaml"
            path.write_text(yaml.safe_dump(configuration))
            code, output = run(program, "--config", path, "--root-dir", tmp_path)
            assert code != 0
            outputs.append(output.count("invalid configuration:") if "oomScoreAdj" in output else 0)
            lenient = "enient decoding" in output
        assert (outputs[0] != outputs[1] or lenient) is refused, output
        assert bool(list(field_problems("kubelet", fields, minor(version)))) is refused
