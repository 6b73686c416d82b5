"""The origins that `python3 -m ops.explain` finds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.overrides import PROTECTED_FIELDS
from lab.config.parse import ConfigurationError, parse
from lab.node.render import services_of
from ops.explain.__main__ import main
from ops.explain.explanation import Line, explain, matching_lines
from ops.explain.fields import Field, fields
from ops.explain.provenance import Origin, changed_lines
from ops.explain.variation import VariedKey, alternatives, default_keys, key_name, set_keys, varied
from ops.stack_file import StackConfiguration
from system.files import CHECKOUT
from tests.support.documentation import SHELL, blocks
from tests.support.stacks import configuration

KUBELET_CONFIG = "/var/lib/kubelet/kubelet-config.yaml"


def stack(name: str = "dev", **values: Any) -> StackConfiguration:
    """Return a stack's configuration with other values."""
    changed = configuration(name) | values
    return StackConfiguration(changed, parse(changed))


def first_line(stack: StackConfiguration, node: str, service: str, field: str) -> Line:
    """Return the first line of a field."""
    [found] = [each for each in stack.spec.nodes if each.name == node]
    [rendered] = [each for each in services_of(stack.spec, found) if each.name == service]
    return matching_lines(explain(stack, found, rendered), field)[0][1]


def origins(stack: StackConfiguration, node: str, service: str, field: str) -> list[Origin]:
    """Return the origins of the first line of a field."""
    return list(first_line(stack, node, service, field).origins)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Run the command and return its JSON document."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_field_comes_from_the_nodes_key() -> None:
    workers = configuration("dev")["workers"]
    workers[1]["kubelet"] = {"maxPods": 50}
    changed = stack(kubelet={"maxPods": 60}, workers=workers)
    assert origins(changed, "node-1", "kubelet", "maxPods") == [
        Origin("configuration", "hardway:workers[1].kubelet.maxPods")
    ]
    assert origins(changed, "node-0", "kubelet", "maxPods") == [Origin("configuration", "hardway:kubelet.maxPods")]


def test_equal_configured_value_still_comes_from_the_key() -> None:
    assert origins(stack(kubelet={"maxPods": 110}), "node-1", "kubelet", "maxPods") == [
        Origin("configuration", "hardway:kubelet.maxPods")
    ]


def test_documented_explanation_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = (each for each in blocks(SHELL) if each.covered_by == "tests/unit/ops/explain/test_explain.py")
    [command] = block.commands
    assert main(command.split()[2:]) == 0
    assert block.output
    assert block.missing_output(capsys.readouterr().out) == []


def test_default_comes_from_pulumi_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    document = run(capsys, "node-1", "kubelet", "clusterDomain")
    [match] = document["matches"]
    assert match["origins"] == [{"kind": "default", "name": "hardway:clusterDomain", "reason": ""}]
    assert match["path"] == KUBELET_CONFIG
    assert match["effect"] == "restarts kubelet"
    assert match["readers"] == ["kubelet (config in /etc/systemd/system/kubelet.service)"]
    assert match["overrideKeys"] == ["hardway:workers[1].kubelet.clusterDomain", "hardway:kubelet.clusterDomain"]


@pytest.mark.parametrize(
    ("policy", "field", "drained"),
    [
        ("none", "cpuManagerPolicy", True),
        ("static", "cpuManagerPolicy", True),
        ("static", "systemReserved.cpu", True),
        ("none", "systemReserved.cpu", False),
        ("static", "maxPods", False),
    ],
)
def test_change_of_assigned_cpus_drains_the_node(policy: str, field: str, drained: bool) -> None:
    kubelet = {"cpuManagerPolicy": policy, "systemReserved": {"cpu": "200m"}, "maxPods": 50}
    line = first_line(stack(kubelet=kubelet), "node-1", "kubelet", field)
    assert line.effect == "restarts kubelet" + " after the node is drained" * drained


def test_another_minor_version_drains_the_node(capsys: pytest.CaptureFixture[str]) -> None:
    [binary] = [part for part in run(capsys, "node-1", "kubelet")["parts"] if part["kind"] == "binary"]
    assert binary["lines"][0]["effect"].endswith("after the node is drained if the minor version changes")


def test_fixed_value_comes_from_a_source_line() -> None:
    [origin] = origins(stack(), "node-1", "kubelet", "resolvConf")
    assert origin.kind == "source"
    file, _, number = origin.name.partition(":")
    line = (CHECKOUT / file).read_text().splitlines()[int(number) - 1]
    assert '"resolvConf"' in line
    assert "stub" in origin.reason


def test_common_fields_come_from_the_module_of_the_file() -> None:
    changed = stack()
    node = changed.spec.workers[1]
    [kubelet] = [each for each in services_of(changed.spec, node) if each.name == "kubelet"]
    parts = explain(changed, node, kubelet)
    [kubeconfig] = [part for part in parts if part.entry.path == "/var/lib/kubelet/kubeconfig"]
    modules = {origin.name.partition(":")[0] for line in kubeconfig.lines for origin in line.origins}
    assert {name for name in modules if name.startswith("lab/")} == {"lab/node/kubeconfig.py"}


def test_flag_comes_from_the_address_of_the_node() -> None:
    assert origins(stack(), "node-1", "kubelet", "--node-ip") == [Origin("configuration", "hardway:workers[1].address")]


def test_server_comes_from_the_control_plane() -> None:
    assert origins(stack(), "node-1", "kubelet", "server") == [
        Origin("configuration", "hardway:controlPlanes[0].address")
    ]


def test_unit_line_comes_from_the_unit_file() -> None:
    [origin] = origins(stack(), "node-1", "kubelet", "RestartSec")
    assert origin.name.startswith("assets/units/kubelet.service:")


def test_control_plane_flag_comes_from_its_key() -> None:
    assert origins(stack("ha"), "control0", "etcd", "election-timeout") == [
        Origin("configuration", "hardway:etcdFlags.election-timeout")
    ]


def test_version_comes_from_the_kubernetes_version(capsys: pytest.CaptureFixture[str]) -> None:
    parts = run(capsys, "node-1", "kubelet")["parts"]
    [binary] = [part for part in parts if part["kind"] == "binary"]
    assert binary["lines"][0]["origins"][0]["name"] == "hardway:kubernetesVersion"


def test_every_line_has_an_origin(capsys: pytest.CaptureFixture[str]) -> None:
    for part in run(capsys, "node-1", "kubelet")["parts"]:
        assert part["effect"]
        for line in part["lines"]:
            assert line["origins"] or not line["text"].strip(), line
            for origin in line["origins"]:
                if origin["kind"] == "source":
                    assert (CHECKOUT / origin["name"].partition(":")[0]).exists()


def test_path_depends_on_the_layout(capsys: pytest.CaptureFixture[str]) -> None:
    parts = {part["path"]: part for part in run(capsys, "node-1", "kubelet")["parts"]}
    assert {
        "kind": "default",
        "name": "hardway:layout.kubeletConfiguration",
        "reason": "",
    } in parts[KUBELET_CONFIG]["pathOrigins"]
    assert parts["/var/lib/kubelet/ca.crt"]["pathOrigins"][0]["name"] == "lab/pki.py"


def test_every_file_has_a_reader(capsys: pytest.CaptureFixture[str]) -> None:
    readers = {part["path"]: part["readers"] for part in run(capsys, "node-1", "node-setup")["parts"]}
    assert readers["/etc/kubernetes/pod-routes"] == ["node-setup"]
    assert readers["/etc/cni/net.d/10-bridge.conflist"] == ["containerd, which watches this folder"]
    assert readers["/etc/systemd/system/node-setup.service"] == ["systemd"]
    assert readers["/opt/cni/bin/bridge"] == []


def test_protected_field_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-1", "kubelet", "tlsCertFile"]) == 0
    printed = capsys.readouterr().out
    assert f"Protected:  {PROTECTED_FIELDS['kubelet'][('tlsCertFile',)]}" in printed
    assert "Override:" not in printed


def test_protected_field_that_is_not_set_has_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-1", "kubelet", "podCIDR"]) == 1
    reason = PROTECTED_FIELDS["kubelet"][("podCIDR",)]
    assert f"cannot be overridden: {reason}" in capsys.readouterr().out


def test_nested_field_is_shown_with_its_full_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-1", "kubelet", "webhook.enabled"]) == 0
    assert capsys.readouterr().out.startswith("enabled: true\n  Field:      authentication.webhook.enabled\n")


def test_field_that_is_not_set_names_its_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-1", "kubelet", "evictionMaxPodGracePeriod"]) == 1
    assert "Set it with hardway:workers[1].kubelet.evictionMaxPodGracePeriod or" in capsys.readouterr().out


def test_unknown_names_suggest_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-2"]) == 2
    assert "Stack dev has no node node-2; did you mean node-" in capsys.readouterr().err
    assert main(["node-1", "kubelt"]) == 2
    assert "Node node-1 has no service kubelt; did you mean kubelet?" in capsys.readouterr().err
    assert main(["node-1", "kubelet", "maxpods"]) == 1
    assert "sets maxpods; did you mean maxPods?" in capsys.readouterr().out
    assert main(["node-1", "--stack", "deve"]) == 2
    assert "no stack file Pulumi.deve.yaml" in capsys.readouterr().err


def test_node_lists_its_services(capsys: pytest.CaptureFixture[str]) -> None:
    document = run(capsys, "node-1")
    assert [service["name"] for service in document["services"]] == [
        "node-setup",
        "containerd",
        "kubelet",
        "kube-proxy",
        "kube-network-policies",
    ]
    assert (document["role"], document["podCidr"]) == ("worker", "10.200.1.0/24")
    assert main(["node-1"]) == 0
    assert re.search("^kubelet +kubelet.service ", capsys.readouterr().out, re.MULTILINE)


def test_text_shows_line_and_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-1", "kubelet"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "maxPods" in line]
    assert "maxPods: 110" in line
    assert "<- lab/node/worker.py:" in line


def test_quiet_leaves_out_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["node-1", "containerd", "--quiet"]) == 0
    assert "stats_collect_period" not in capsys.readouterr().out


def test_stack_file_of_another_checkout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workers = [{"name": "w", "address": "10.240.0.99", "podCidr": "10.200.9.0/24"}]
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump({"config": {"hardway:workers": workers}}))
    assert main(["w"], tmp_path) == 0
    assert "w: worker, 10.240.0.99, pods 10.200.9.0/24" in capsys.readouterr().out


def test_default_nodes_are_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}")
    assert main(["node-1", "kubelet", "node-ip", "--json"], tmp_path) == 0
    [match] = json.loads(capsys.readouterr().out)["matches"]
    assert match["origins"] == [{"kind": "default", "name": "hardway:workers[1].address", "reason": ""}]


def test_large_lab_has_the_same_origins() -> None:
    workers = [
        {"name": f"w{number}", "address": f"10.240.0.{100 + number}", "podCidr": f"10.200.{number}.0/24"}
        for number in range(30)
    ]
    workers[20]["kubelet"] = {"maxPods": 50}  # type: ignore[assignment]
    large = stack(workers=workers)
    node = large.spec.workers[20]
    services = {service.name: service for service in services_of(large.spec, node)}
    kubelet = explain(large, node, services["kubelet"])
    for field, name in (
        ("maxPods", "hardway:workers[20].kubelet.maxPods"),
        ("node-ip", "hardway:workers[20].address"),
        ("server", "hardway:controlPlanes[0].address"),
    ):
        assert matching_lines(kubelet, field)[0][1].origins == (Origin("configuration", name),)
    setup = explain(large, node, services["node-setup"])
    [subnet] = [line for part in setup for line in part.lines if '"subnet"' in line.text]
    assert subnet.origins == (Origin("configuration", "hardway:workers[20].podCidr"),)
    [routes] = [part for part in setup if part.entry.path == "/etc/kubernetes/pod-routes"]
    assert {origin.name for line in routes.lines for origin in line.origins} == {
        f"hardway:workers[{number}].{field}" for number in range(30) for field in ("address", "podCidr") if number != 20
    } | {"hardway:clusterCidr"}


def test_yaml_fields() -> None:
    text = "a:\n  b: 1\nlist:\n- x\n- name: y\n"
    assert fields("/f.yaml", text) == [
        Field(("a",), 0),
        Field(("a", "b"), 1, "1"),
        Field(("list",), 2),
        Field(("list",), 3, "x"),
        Field(("list", "name"), 4, "y"),
    ]


def test_toml_fields() -> None:
    text = 'version = 3\n\n[plugins."io.x".cni]\nbin_dirs = [\n    "/opt",\n]\nname = "a"\n'
    assert fields("/f.toml", text) == [
        Field(("version",), 0, "3"),
        Field(("plugins", "io.x", "cni"), 2),
        Field(("plugins", "io.x", "cni", "bin_dirs"), 3),
        Field(("plugins", "io.x", "cni", "bin_dirs"), 4, "/opt"),
        Field(("plugins", "io.x", "cni", "name"), 6, "a"),
    ]


def test_unit_fields() -> None:
    text = "[Service]\n# Wants=none\nExecStart=/bin/kubelet \\\n  --node-ip=1.2.3.4 \\\n  --v=2\nRestartSec=5\n"
    assert fields("/f.service", text) == [
        Field(("ExecStart",), 2, "/bin/kubelet"),
        Field(("node-ip",), 3, "1.2.3.4"),
        Field(("v",), 4, "2"),
        Field(("RestartSec",), 5, "5"),
    ]


def test_other_files_have_assignments() -> None:
    assert fields("/etc/sysctl.d/k.conf", "# a = b\nnet.x = 1\nword\n") == [Field(("net.x",), 1, "1")]


def test_last_flag_is_no_change() -> None:
    assert list(changed_lines("x \\\n  --a=1 \\\n  --b=2\n", "x \\\n  --a=1\n")) == [2]


def test_key_names() -> None:
    assert key_name(("workers", 1, "kubelet", "maxPods")) == "hardway:workers[1].kubelet.maxPods"
    assert key_name(("containerd", "plugins", "io.x")) == 'hardway:containerd.plugins["io.x"]'


def test_keys_of_other_nodes_are_not_set_keys() -> None:
    names = {key.name for key in set_keys(configuration("dev"), ("workers", 1))}
    assert names == {"hardway:workers[1].name", "hardway:workers[1].address", "hardway:workers[1].podCidr"}


def test_set_keys_have_no_default() -> None:
    names = {key.name for key in default_keys({"clusterDns": "10.32.0.11"}, ("workers", 0))}
    assert "hardway:clusterDns" not in names
    assert {"hardway:clusterDomain", "hardway:layout.binaries", "hardway:workers[0].memory"} <= names


def test_variation_keeps_the_original() -> None:
    values = {"kubelet": {"maxPods": 50}}
    assert varied(values, ("kubelet", "maxPods"), 51) == {"kubelet": {"maxPods": 51}}
    assert varied(values, ("layout", "binaries"), "/x")["layout"] == {"binaries": "/x"}
    assert values == {"kubelet": {"maxPods": 50}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("clusterDomain",), "cluster.local"),
        (("clusterDns",), "10.32.0.10"),
        (("clusterCidr",), "10.200.0.0/16"),
        (("serviceCidr",), "10.32.0.0/24"),
        (("networkCidr",), "10.240.0.0/24"),
        (("kubernetesVersion",), ""),
        (("apiAddress",), ""),
        (("tlsBootstrap",), False),
        (("certificateValidityHours",), 8760),
        (("maxUnavailable",), "1"),
        (("layout", "kubeletConfiguration"), KUBELET_CONFIG),
        (("workers", 1, "address"), "10.240.0.21"),
        (("workers", 1, "podCidr"), "10.200.1.0/24"),
    ],
)
def test_keys_have_valid_alternatives(path: Any, value: Any) -> None:
    values, spec = stack().values, stack().spec
    changed = []
    for other in alternatives(VariedKey(path, value, is_set=False), spec):
        try:
            changed.append(parse(varied(values, path, other)) != spec)
        except ConfigurationError:
            continue
    assert any(changed)
