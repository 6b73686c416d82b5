"""TLS bootstrap: the tokens, their permissions, and the files of a node."""

import posixpath
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lab.config.node_paths import RESERVED_PATHS
from lab.node.bootstrap import GROUP, token, token_id
from lab.node.paths import ADDONS, BOOTSTRAP_TOKEN, BOOTSTRAP_TOKENS, PROGRAMS
from lab.node.render import services_of
from lab.node.service import Credential, File, Part, Service, config_hash, manifest
from lab.node.units import ASSETS
from lab.pki import Use, identities
from lab.spec import Node, Spec
from tests.support.fake_programs import put


def services(spec: Spec, node: Node) -> dict[str, Service]:
    return {service.name: service for service in services_of(spec, node)}


def files(spec: Spec, node: Node) -> dict[str, File]:
    return {path: file for service in services_of(spec, node) for path, file in service.files.items()}


def flags(service: Service) -> dict[str, str]:
    """Return the flags in a service's unit file."""
    text = service.visible_files[f"/etc/systemd/system/{service.unit}"]
    return dict(re.findall(r"--([\w-]+)=(\S+)", text))


# Tokens


def test_a_token_has_the_format_of_kubernetes() -> None:
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token("key", "node-1"))
    assert token("key", "node-1").startswith(f"{token_id('node-1')}.")


def test_a_token_depends_on_key_and_node_only() -> None:
    assert token("key", "node-1") == token("key", "node-1")
    assert len({token(key, node).partition(".")[2] for key in ("a", "b") for node in ("node-1", "node-2")}) == 4


def test_every_node_has_a_different_token(bootstrap: Spec) -> None:
    assert len({token_id(node.name) for node in bootstrap.nodes}) == len(bootstrap.nodes)


# Services and files of the nodes


def test_a_lab_without_bootstrap_has_no_tokens(dev: Spec) -> None:
    for node in dev.nodes:
        assert "bootstrap-tokens" not in services(dev, node)
        held = [file.content for file in files(dev, node).values() if isinstance(file.content, Credential)]
        assert held
        assert not [credential for credential in held if credential.part is Part.TOKEN]
        assert not [file for file in files(dev, node).values() if file.transient]


def test_the_first_control_plane_creates_the_tokens(bootstrap: Spec) -> None:
    first, *others = bootstrap.nodes
    service = services(bootstrap, first)["bootstrap-tokens"]
    assert set(service.credential_files) == {f"{BOOTSTRAP_TOKENS}/{node.name}" for node in bootstrap.kubelets}
    assert not [node for node in others if "bootstrap-tokens" in services(bootstrap, node)]
    assert "bootstrap-tokens" in services(bootstrap, first)["kubelet"].needs


def test_a_kubelet_gets_a_transient_token(bootstrap: Spec) -> None:
    for node in bootstrap.kubelets:
        kubelet = services(bootstrap, node)["kubelet"]
        document = yaml.safe_load(kubelet.visible_files[flags(kubelet)["bootstrap-kubeconfig"]])
        assert document["users"][0]["user"] == {"tokenFile": BOOTSTRAP_TOKEN}
        assert document["clusters"][0]["cluster"]["server"] == bootstrap.api_endpoint
        assert kubelet.files[BOOTSTRAP_TOKEN].transient
        assert kubelet.files[BOOTSTRAP_TOKEN].content == Credential(identity=node.name, part=Part.TOKEN)


def test_a_kubelet_uses_the_certificate_from_the_cluster(bootstrap: Spec) -> None:
    for node in bootstrap.kubelets:
        kubelet = services(bootstrap, node)["kubelet"]
        current = f"{flags(kubelet)['cert-dir']}/kubelet-client-current.pem"
        user = yaml.safe_load(kubelet.visible_files[flags(kubelet)["kubeconfig"]])["users"][0]["user"]
        assert user == {"client-certificate": current, "client-key": current}
        assert kubelet.health.endswith(f" {current} {current}")
        assert current not in kubelet.files
        configuration = yaml.safe_load(kubelet.visible_files[flags(kubelet)["config"]])
        assert configuration["rotateCertificates"] is True
        assert configuration["tlsCertFile"] in kubelet.files


def test_the_certificate_of_the_lab_only_serves(bootstrap: Spec) -> None:
    for node in bootstrap.kubelets:
        identity = identities(bootstrap)[f"kubelet-{node.name}"]
        assert identity.uses == (Use.SERVER,)
        assert identity.dns_names == (node.name, f"{node.name}.hardway-bootstrap.local")
        assert identity.addresses == (node.address,)


def test_the_control_plane_accepts_and_expires_tokens(bootstrap: Spec) -> None:
    for node in bootstrap.control_planes:
        found = services(bootstrap, node)
        assert flags(found["kube-apiserver"])["enable-bootstrap-token-auth"] == "true"
        assert flags(found["kube-controller-manager"])["controllers"] == "*,bootstrapsigner,tokencleaner"
        assert flags(found["kube-controller-manager"])["cluster-signing-duration"] == "8760h"


def test_tokens_only_permit_certificate_requests(bootstrap: Spec, dev: Spec) -> None:
    def bindings(spec: Spec) -> set[tuple[str, str]]:
        text = services(spec, spec.control_planes[0])["addons"].visible_files[f"{ADDONS}/manifests.yaml"]
        return {
            (subject["name"], document["roleRef"]["name"])
            for document in yaml.safe_load_all(text)
            if document["kind"] == "ClusterRoleBinding"
            for subject in document["subjects"]
        }

    requests = "system:certificates.k8s.io:certificatesigningrequests"
    assert bindings(bootstrap) - bindings(dev) == {
        (GROUP, "system:node-bootstrapper"),
        (GROUP, f"{requests}:nodeclient"),
        ("system:nodes", f"{requests}:selfnodeclient"),
    }


def test_a_token_restarts_no_kubelet(bootstrap: Spec) -> None:
    kubelet = services(bootstrap, bootstrap.workers[0])["kubelet"]

    def listing(token: str) -> str:
        return manifest(kubelet, lambda credential: token if credential.part is Part.TOKEN else "", lambda _: "")

    first, second = listing("one token"), listing("another")
    assert first != second
    assert config_hash(first) == config_hash(second)


@pytest.mark.parametrize("mode", ["ipvs", "nftables", "iptables"])
def test_each_kube_proxy_mode_has_its_kernel_modules(mode: str, bootstrap: Spec) -> None:
    expected = {"ipvs": {"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"}, "nftables": {"nf_tables"}, "iptables": set()}
    node = replace(bootstrap.workers[0], kube_proxy={"mode": mode})
    modules = files(replace(bootstrap, network_policy=False), node)["/etc/modules-load.d/kubernetes.conf"].content
    assert isinstance(modules, str)
    assert {name for name in modules.split() if name.startswith(("ip_vs", "nf_tables"))} == expected[mode]


# Users, folders, layout


def test_systemd_creates_user_and_folders(bootstrap: Spec) -> None:
    for node in bootstrap.nodes:
        found = services(bootstrap, node)["node-setup"].visible_files
        assert found["/etc/sysusers.d/kubernetes.conf"].splitlines() == [
            "g kubernetes 900",
            "u kubernetes 900:900 - /etc/kubernetes",
        ]
        assert found["/etc/tmpfiles.d/kubernetes.conf"].splitlines() == [
            "d /etc/kubernetes 0755 kubernetes kubernetes",
            "d /etc/kubernetes/pki 0700 kubernetes kubernetes",
            "d /run/kubernetes 0755 kubernetes kubernetes",
        ]


def test_the_socket_of_containerd_belongs_to_the_group(bootstrap: Spec) -> None:
    assert bootstrap.system_user
    for node in bootstrap.kubelets:
        assert (
            f"gid = {bootstrap.system_user.id}\n"
            in services(bootstrap, node)["containerd"].visible_files["/etc/containerd/config.toml"]
        )


def test_files_outside_the_layout_are_in_reserved_paths(bootstrap: Spec, dev: Spec) -> None:
    other_reserved = {"/etc/cni/net.d/99-loopback.conf", "/etc/crictl.yaml", BOOTSTRAP_TOKEN}
    for spec in (bootstrap, dev):
        for node in spec.kubelets:
            layout = spec.layout.of(node)
            for path in files(spec, node).keys() - set(layout.paths.values()) - other_reserved:
                assert path.startswith(tuple(f"{folder}/" for folder in RESERVED_PATHS)) or path in RESERVED_PATHS, path


def test_programs_are_in_the_folder_of_the_layout(bootstrap: Spec) -> None:
    worker = bootstrap.workers[0]
    programs = {path for service in services(bootstrap, worker).values() for path in service.binaries}
    assert {posixpath.basename(path) for path in programs if path.startswith("/usr/local/sbin/")} == {
        "kubelet",
        "kube-proxy",
        "kube-network-policies",
        "runc",
        "crictl",
    }
    assert not [path for path in programs if path.startswith("/usr/local/bin/")]


def test_containerd_health_uses_crictl_from_the_layout(dev: Spec, tmp_path: Path) -> None:
    put(tmp_path, "crictl", "echo called")
    moved = replace(dev, layout=replace(dev.layout, binaries=str(tmp_path)))
    health = services(moved, moved.workers[0])["containerd"].health.replace(PROGRAMS, str(ASSETS / "node"))
    result = subprocess.run(["bash", "-c", health], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout


def test_node_setup_loads_kernel_settings_from_the_layout(dev: Spec) -> None:
    moved = replace(dev, layout=replace(dev.layout, kernel_settings="/etc/sysctl.d/99-cri.conf"))
    service = services(moved, moved.workers[0])["node-setup"]
    assert "/etc/sysctl.d/99-cri.conf" in service.files
    assert (
        "ExecStart=/usr/local/lib/hardway/node-setup /etc/sysctl.d/99-cri.conf\n"
        in (service.visible_files["/etc/systemd/system/node-setup.service"])
    )
