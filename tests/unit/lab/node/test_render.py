"""The rendered services of a node: their order, paths, file modes, and the hardening of the kubelet."""

import posixpath
import re
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
import yaml

from lab.node.node_setup import claim
from lab.node.paths import CONFIRM_WITHIN
from lab.node.render import render, services_of
from lab.node.service import Credential, File, Part, Service
from lab.pki import SERVICE_ACCOUNTS, Authority, authority_identity, identities
from lab.spec import Node, Spec, Taint, TaintEffect

AUTHORITIES = {authority_identity(authority) for authority in Authority}

PUBLIC = re.compile(
    r"/etc/(modules-load\.d|sysctl\.d)/kubernetes\.conf|/etc/crictl\.yaml"
    r"|/etc/kubernetes/(pod-routes|pod-network\.nft)"
)
"""World-readable files besides the certificates of authorities. The system shows these settings anyway."""


def files(spec: Spec, node: Node) -> dict[str, File]:
    return {path: file for service in services_of(spec, node) for path, file in service.files.items()}


def service(spec: Spec, node: Node, name: str) -> Service:
    return next(service for service in services_of(spec, node) if service.name == name)


def document(spec: Spec, node: Node, name: str, path: str) -> Any:
    return yaml.safe_load(service(spec, node, name).visible_files[path])


def kubelet_configuration(spec: Spec, **changes: Any) -> dict[str, Any]:
    node = replace(spec.workers[0], **changes)
    found: dict[str, Any] = document(spec, node, "kubelet", "/var/lib/kubelet/kubelet-config.yaml")
    return found


def at(configuration: Any, path: str) -> Any:
    for key in path.split("."):
        configuration = configuration[key]
    return configuration


# Services


@pytest.mark.parametrize("confirm_within", [None, 600])
def test_each_service_comes_after_those_it_needs(dev: Spec, confirm_within: int | None) -> None:
    spec = replace(dev, confirm_within=confirm_within)
    for node in spec.nodes:
        earlier: list[str] = []
        for one in services_of(spec, node):
            assert one.name not in earlier
            assert set(one.needs) <= set(earlier), f"{one.name} on {node.name}"
            earlier.append(one.name)


def test_time_for_a_confirmation_comes_before_all_other_services(dev: Spec) -> None:
    spec = replace(dev, confirm_within=600)
    for node in spec.nodes:
        changed = {
            one.name for one in services_of(spec, node) if one.files not in [i.files for i in services_of(dev, node)]
        }
        assert changed == {"node-setup"}
        setup, *others = services_of(spec, node)
        assert setup.files[CONFIRM_WITHIN] == File(content="600\n", restarts=False)
        assert all("node-setup" in one.needs for one in others)


def test_no_path_belongs_to_two_services(dev: Spec) -> None:
    for node in dev.nodes:
        owners: dict[str, str] = {}
        for one in services_of(dev, node):
            for path in [*one.files, *one.binaries, *one.tools]:
                assert path not in owners, f"{path} on {node.name} belongs to {owners[path]} and to {one.name}"
                owners[path] = one.name


def test_every_path_is_absolute_and_normalized(dev: Spec) -> None:
    for node in dev.nodes:
        for one in services_of(dev, node):
            for path in [*one.files, *one.binaries, *one.tools]:
                assert path.startswith("/")
                assert posixpath.normpath(path) == path
                assert not re.search(r"\s", path)


def test_every_service_has_its_unit_file(dev: Spec) -> None:
    for node in dev.nodes:
        for one in services_of(dev, node):
            assert f"/etc/systemd/system/{one.unit}" in one.files
            assert one.activation in ("restart", "reload")


def test_a_unit_starts_only_programs_of_its_service(dev: Spec) -> None:
    for node in dev.nodes:
        for one in services_of(dev, node):
            assert f"/etc/systemd/system/{one.unit}" in one.visible_files
            text = "".join(text for path, text in one.visible_files.items() if path.startswith("/etc/systemd/system/"))
            started = re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)
            assert started
            for program in started:
                assert program in one.binaries or program.startswith("/usr/local/lib/hardway/"), program


def test_units_have_no_placeholders_left(dev: Spec) -> None:
    for node in dev.nodes:
        for path, file in files(dev, node).items():
            if path.startswith("/etc/systemd/system/"):
                assert isinstance(file.content, str)
                assert "$" not in file.content


def test_every_referenced_file_exists(dev: Spec) -> None:
    """Flags, configuration and kubeconfigs refer to credentials and to each other."""
    named = re.compile(r"(?<![\w/:])/(?:etc|var/lib)/[\w./-]+\.(?:crt|key|ya?ml|toml|conf)\b")
    found = 0
    for node in dev.nodes:
        existing = files(dev, node).keys()
        for one in services_of(dev, node):
            for path, text in one.visible_files.items():
                # The paths in manifests are inside pods.
                for other in named.findall(text) if not path.endswith("/manifests.yaml") else ():
                    found += 1
                    assert other in existing, f"{path} on {node.name} refers to {other}"
    assert found


def test_artifacts_of_a_lab_include_every_node(dev: Spec) -> None:
    older = replace(dev.workers[1], kubernetes_version="v1.35.4")
    mixed = replace(dev, workers=(dev.workers[0], older))
    kubelets = {artifact.version for artifact in render(mixed).artifacts if artifact.name == "kubelet"}
    assert kubelets == {dev.kubernetes_version, "v1.35.4"}


def test_a_control_plane_runs_no_kubelet(dev: Spec) -> None:
    assert not {"kubelet", "containerd", "kube-proxy"} & {one.name for one in services_of(dev, dev.control_planes[0])}


def test_only_the_control_plane_emulates_another_version(dev: Spec) -> None:
    rendered = render(replace(dev, emulated_version="v1.36")).nodes.items()
    emulating = {
        (node, service.name)
        for node, each in rendered
        for service in each.services
        for file in service.files.values()
        if "--emulated-version=1.36" in str(file.content)
    }
    programs = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    assert emulating == {("server", name) for name in programs}


def test_node_setup_is_checked_and_retried(dev: Spec) -> None:
    for node in dev.nodes:
        setup = service(dev, node, "node-setup")
        assert setup.health == "/usr/local/lib/hardway/node-setup-healthy /etc/sysctl.d/kubernetes.conf"
        assert "Restart=on-failure\n" in setup.visible_files["/etc/systemd/system/node-setup.service"]


BRIDGE = "/etc/cni/net.d/10-bridge.conflist"
SINGLE_BRIDGE = "/etc/cni/net.d/10-bridge.conf"


def test_the_bridge_follows_the_pod_cidr(dev: Spec) -> None:
    moved = replace(dev.workers[0], pod_cidr=IPv4Network("10.200.7.0/24"))
    bridge = document(dev, moved, "node-setup", BRIDGE)["plugins"][0]
    assert (bridge["isGateway"], bridge["forceAddress"]) == (True, True)
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.200.7.0/24"}]]


def test_the_bridge_can_be_a_single_plugin(dev: Spec) -> None:
    bridge = document(with_single_plugin(dev), dev.workers[0], "node-setup", SINGLE_BRIDGE)
    assert (bridge["type"], bridge["name"]) == ("bridge", "bridge")
    assert "plugins" not in bridge


def with_single_plugin(spec: Spec) -> Spec:
    return replace(spec, layout=replace(spec.layout, cni_bridge=SINGLE_BRIDGE))


def test_a_plugin_list_has_bridge_and_portmap(dev: Spec) -> None:
    node = replace(dev.workers[0], cni={"mtu": 1400, "name": "pods", "hairpinMode": None, "ipam": {"dataDir": "/x"}})
    single = document(with_single_plugin(dev), node, "node-setup", SINGLE_BRIDGE)
    setup = service(dev, node, "node-setup")
    assert SINGLE_BRIDGE not in setup.files
    configuration = yaml.safe_load(setup.visible_files[BRIDGE])
    bridge, portmap = configuration.pop("plugins")
    assert configuration == {"cniVersion": "1.0.0", "name": "pods"}
    assert bridge == {key: value for key, value in single.items() if key not in configuration}
    assert (bridge["mtu"], bridge["ipam"]["dataDir"]) == (1400, "/x")
    assert portmap == {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}


def test_every_configured_plugin_is_on_the_node(dev: Spec) -> None:
    for spec in (dev, with_single_plugin(dev)):
        setup = service(spec, spec.workers[0], "node-setup")
        texts = [text for path, text in setup.visible_files.items() if path.startswith("/etc/cni/net.d/")]
        named = {plugin for text in texts for plugin in re.findall(r'"type": "([a-z-]+)"', text)}
        assert {f"/opt/cni/bin/{plugin}" for plugin in named} <= setup.binaries.keys()


# Secrets and file modes


def key_of(file: File) -> str:
    """Return the identity whose key a file holds, or an empty string."""
    return file.content.identity if isinstance(file.content, Credential) and file.content.part is Part.KEY else ""


def is_authority(file: File) -> bool:
    """Return True if a file is the certificate of an authority."""
    return isinstance(file.content, Credential) and file.content.identity in AUTHORITIES and not key_of(file)


def test_only_root_can_read_private_files(dev: Spec) -> None:
    for node in dev.nodes:
        for path, file in files(dev, node).items():
            public = PUBLIC.fullmatch(path) or is_authority(file)
            assert file.owner == "root:root"
            assert file.mode & ~0o100 == (0o644 if public else 0o600), path


def test_every_key_is_root_only(dev: Spec) -> None:
    keys = [file for node in dev.nodes for file in files(dev, node).values() if key_of(file)]
    assert keys
    assert {file.mode for file in keys} == {0o600}


def test_workers_hold_only_their_own_keys(dev: Spec) -> None:
    for node in dev.workers:
        held = {key_of(file) for file in files(dev, node).values()} - {""}
        assert held == {f"kubelet-{node.name}", "kube-proxy", "kube-network-policies"}


def test_only_the_controller_manager_holds_an_authority_key(dev: Spec) -> None:
    holders = {
        (one.name, key_of(file))
        for node in dev.nodes
        for one in services_of(dev, node)
        for file in one.files.values()
        if key_of(file) in AUTHORITIES
    }
    assert holders == {("kube-controller-manager", "kubernetes-ca")}


def test_the_pki_creates_every_credential(dev: Spec) -> None:
    made = identities(dev).keys() | AUTHORITIES | {SERVICE_ACCOUNTS}
    for node in dev.nodes:
        for file in files(dev, node).values():
            if isinstance(file.content, Credential):
                assert file.content.identity in made


def test_rendered_text_holds_no_secret(dev: Spec) -> None:
    """Files name their credentials instead of holding them, so a preview can show all rendered text."""
    for node in dev.nodes:
        for one in services_of(dev, node):
            for text in [*one.visible_files.values(), one.check, one.health]:
                assert "PRIVATE KEY" not in text
                assert not re.search(r"(client-key-data|client-certificate-data|token|password):", text)


# Hardening of the kubelet

ECDHE = [
    f"TLS_ECDHE_{signed}_WITH_{cipher}"
    for cipher in ("AES_128_GCM_SHA256", "CHACHA20_POLY1305_SHA256", "AES_256_GCM_SHA384")
    for signed in ("ECDSA", "RSA")
]

HARDENING: dict[str, Any] = {
    "authentication.anonymous.enabled": False,
    "authentication.webhook.enabled": True,
    "authentication.x509.clientCAFile": "/var/lib/kubelet/ca.crt",
    "authorization.mode": "Webhook",
    "readOnlyPort": 0,
    "tlsCertFile": "/var/lib/kubelet/kubelet.crt",
    "tlsPrivateKeyFile": "/var/lib/kubelet/kubelet.key",
    "tlsMinVersion": "VersionTLS12",
    "tlsCipherSuites": ECDHE,
    "podPidsLimit": 4096,
    "seccompDefault": True,
    "streamingConnectionIdleTimeout": "5m",
    "makeIPTablesUtilChains": True,
    "eventRecordQPS": 5,
    "protectKernelDefaults": True,
    "shutdownGracePeriod": "30s",
    "shutdownGracePeriodCriticalPods": "10s",
    "systemReserved": {"cpu": "100m", "memory": "128Mi"},
    "kubeReserved": {"cpu": "100m", "memory": "128Mi"},
    "failSwapOn": True,
    "cgroupDriver": "systemd",
}


@pytest.mark.parametrize("field", HARDENING)
def test_the_kubelet_is_hardened_by_default(field: str, dev: Spec) -> None:
    assert at(kubelet_configuration(dev), field) == HARDENING[field]


OTHER: dict[str, Any] = {
    "authentication.anonymous.enabled": True,
    "authentication.webhook.enabled": False,
    "authorization.mode": "AlwaysAllow",
    "readOnlyPort": 10255,
    "tlsMinVersion": "VersionTLS13",
    "tlsCipherSuites": ECDHE[:1],
    "podPidsLimit": 1024,
    "seccompDefault": False,
    "streamingConnectionIdleTimeout": "1h",
    "makeIPTablesUtilChains": False,
    "eventRecordQPS": 50,
    "protectKernelDefaults": False,
    "shutdownGracePeriod": "60s",
    "shutdownGracePeriodCriticalPods": "20s",
    "systemReserved": {"cpu": "50m", "memory": "64Mi"},
    "kubeReserved": {"cpu": "50m", "memory": "64Mi"},
    "failSwapOn": False,
    "cgroupDriver": "cgroupfs",
}


@pytest.mark.parametrize("field", OTHER)
def test_configuration_overrides_a_hardened_field(field: str, dev: Spec) -> None:
    override: Any = OTHER[field]
    for key in reversed(field.split(".")):
        override = {key: override}
    before, after = kubelet_configuration(dev), kubelet_configuration(dev, kubelet=override)
    assert at(after, field) == OTHER[field] != at(before, field)
    unchanged = [other for other in HARDENING if other != field]
    assert [at(after, other) for other in unchanged] == [at(before, other) for other in unchanged]


@pytest.mark.parametrize("field", [field for field in OTHER if "." not in field])
def test_null_removes_a_hardened_field(field: str, dev: Spec) -> None:
    before, after = kubelet_configuration(dev), kubelet_configuration(dev, kubelet={field: None})
    assert before.keys() - after.keys() == {field}


def test_a_kubelet_registers_taints_but_no_labels(dev: Spec) -> None:
    taint = Taint(key="dedicated", value="ingress", effect=TaintEffect.NO_SCHEDULE)
    assert kubelet_configuration(dev, taints=(taint,))["registerWithTaints"] == [
        {"key": "dedicated", "value": "ingress", "effect": "NoSchedule"}
    ]
    labelled = replace(dev.workers[0], labels={"disk": "ssd"})
    assert files(dev, labelled) == files(dev, dev.workers[0])


def test_kube_proxy_serves_metrics_on_loopback(dev: Spec) -> None:
    found = document(dev, dev.workers[0], "kube-proxy", "/var/lib/kube-proxy/kube-proxy-config.yaml")
    assert found["metricsBindAddress"].startswith("127.0.0.1:")
    assert found["healthzBindAddress"].startswith("127.0.0.1:")


def test_each_node_has_routes_to_other_pods(dev: Spec) -> None:
    routes = {
        node.name: set(files(dev, node)["/etc/kubernetes/pod-routes"].content.splitlines())  # type: ignore[union-attr]
        for node in dev.nodes
    }
    to_0, to_1 = "10.200.0.0/24 10.240.0.20", "10.200.1.0/24 10.240.0.21"
    others = "10.200.0.0/16 unreachable"
    assert routes == {"server": {to_0, to_1, others}, "node-0": {to_1, others}, "node-1": {to_0, others}}


@pytest.mark.parametrize(
    ("kubelet", "checked"),
    [
        ({}, ()),
        ({"resolvConf": "/etc/pods.conf"}, ("/etc/pods.conf",)),
        ({"resolvConf": None}, ("/etc/resolv.conf",)),
    ],
    ids=["default", "own file", "default of the kubelet"],
)
def test_nameservers_of_the_kubelet_are_checked(dev: Spec, kubelet: dict[str, Any], checked: tuple[str, ...]) -> None:
    node = replace(dev.workers[0], kubelet=kubelet)
    assert claim(dev, node)[3:] == ("10-bridge.conflist", *checked)
    [service] = [each for each in services_of(dev, node) if each.name == "kubelet"]
    ends = [f" && /usr/local/lib/hardway/conflicts nameservers {path}" for path in checked]
    assert [service.check.partition("--version")[2]] == (ends or [""])
