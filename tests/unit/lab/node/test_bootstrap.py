"""Kubelets that join by a bootstrap token: the tokens, who may do what by them, and what a node is given for it."""

import json
import posixpath
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.node_paths import RESERVED_PATHS
from lab.node.addons import FOLDER
from lab.node.bootstrap import GROUP, TOKEN_FILE, TOKENS, token, token_id
from lab.node.node_setup import PROGRAMS
from lab.node.render import services_of
from lab.node.service import Credential, File, Part, Service, config_hash, manifest
from lab.node.units import ASSETS
from lab.pki import Use, identities
from lab.spec import Node, Spec
from tests.support.fake_programs import put

PROGRAM = ASSETS / "node/node-admission"


def services(spec: Spec, node: Node) -> dict[str, Service]:
    return {service.name: service for service in services_of(spec, node)}


def files(spec: Spec, node: Node) -> dict[str, File]:
    return {path: file for service in services_of(spec, node) for path, file in service.files.items()}


def flags(service: Service) -> dict[str, str]:
    """The flags in a service's unit file."""
    text = service.visible_files[f"/etc/systemd/system/{service.unit}"]
    return dict(re.findall(r"--([\w-]+)=(\S+)", text))


# Tokens


def test_a_token_is_one_that_kubernetes_takes() -> None:
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token("key", "node-1"))
    assert token("key", "node-1").startswith(f"{token_id('node-1')}.")


def test_a_token_follows_from_key_and_node_and_from_nothing_else() -> None:
    assert token("key", "node-1") == token("key", "node-1")
    assert len({token(key, node).partition(".")[2] for key in ("a", "b") for node in ("node-1", "node-2")}) == 4


def test_every_node_has_a_token_of_its_own(bootstrap: Spec) -> None:
    assert len({token_id(node.name) for node in bootstrap.nodes}) == len(bootstrap.nodes)


# What makes up the nodes


def test_without_it_nothing_of_it_is_there(dev: Spec) -> None:
    for node in dev.nodes:
        assert "node-admission" not in services(dev, node)
        held = [file.content for file in files(dev, node).values() if isinstance(file.content, Credential)]
        assert held
        assert not [credential for credential in held if credential.part is Part.TOKEN]
        assert not [file for file in files(dev, node).values() if file.transient]


def test_nodes_are_admitted_by_the_first_control_plane(bootstrap: Spec) -> None:
    first, *others = bootstrap.nodes
    service = services(bootstrap, first)["node-admission"]
    assert set(service.credential_files) == {f"{TOKENS}/{node.name}" for node in bootstrap.kubelets}
    assert not [node for node in others if "node-admission" in services(bootstrap, node)]
    assert "node-admission" in services(bootstrap, first)["kubelet"].needs


def test_a_kubelet_asks_for_its_certificate_by_a_token_that_does_not_stay(bootstrap: Spec) -> None:
    for node in bootstrap.kubelets:
        kubelet = services(bootstrap, node)["kubelet"]
        given = yaml.safe_load(kubelet.visible_files[flags(kubelet)["bootstrap-kubeconfig"]])
        assert given["users"][0]["user"] == {"tokenFile": TOKEN_FILE}
        assert given["clusters"][0]["cluster"]["server"] == bootstrap.api_endpoint
        assert kubelet.files[TOKEN_FILE].transient
        assert kubelet.files[TOKEN_FILE].content == Credential(identity=node.name, part=Part.TOKEN)


def test_a_kubelet_uses_the_certificate_that_the_cluster_issues(bootstrap: Spec) -> None:
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


def test_the_certificate_of_the_lab_is_for_serving_alone(bootstrap: Spec) -> None:
    for node in bootstrap.kubelets:
        identity = identities(bootstrap)[f"kubelet-{node.name}"]
        assert identity.uses == (Use.SERVER,)
        assert identity.dns_names == (node.name, f"{node.name}.hardway-bootstrap.local")
        assert identity.addresses == (node.address,)


def test_the_control_plane_takes_tokens_and_takes_them_away_in_time(bootstrap: Spec) -> None:
    for node in bootstrap.control_planes:
        found = services(bootstrap, node)
        assert flags(found["kube-apiserver"])["enable-bootstrap-token-auth"] == "true"
        assert flags(found["kube-controller-manager"])["controllers"] == "*,bootstrapsigner,tokencleaner"
        assert flags(found["kube-controller-manager"])["cluster-signing-duration"] == "8760h"


def test_tokens_and_certificates_let_ask_for_certificates_alone(bootstrap: Spec, dev: Spec) -> None:
    def bindings(spec: Spec) -> set[tuple[str, str]]:
        text = services(spec, spec.control_planes[0])["cluster-objects"].visible_files[f"{FOLDER}/objects.yaml"]
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
def test_every_mode_of_kube_proxy_has_the_kernel_modules_that_it_wants(mode: str, bootstrap: Spec) -> None:
    wanted = {"ipvs": {"ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh"}, "nftables": {"nf_tables"}, "iptables": set()}
    node = replace(bootstrap.workers[0], kube_proxy={"mode": mode})
    given = files(bootstrap, node)["/etc/modules-load.d/kubernetes.conf"].content
    assert isinstance(given, str)
    assert {name for name in given.split() if name.startswith(("ip_vs", "nf_tables"))} == wanted[mode]


# Users, folders, layout


def test_systemd_makes_the_user_and_the_folders(bootstrap: Spec) -> None:
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


def test_whatever_has_no_place_in_the_layout_is_where_no_layout_may_be(bootstrap: Spec, dev: Spec) -> None:
    fixed = {"/etc/cni/net.d/99-loopback.conf", "/etc/crictl.yaml", TOKEN_FILE}
    for spec in (bootstrap, dev):
        for node in spec.kubelets:
            layout = spec.layout.of(node)
            for path in files(spec, node).keys() - set(layout.paths.values()) - fixed:
                assert path.startswith(tuple(f"{folder}/" for folder in RESERVED_PATHS)) or path in RESERVED_PATHS, path


def test_programs_of_what_runs_pods_stand_where_the_layout_has_them(bootstrap: Spec) -> None:
    worker = bootstrap.workers[0]
    programs = {path for service in services(bootstrap, worker).values() for path in service.binaries}
    assert {posixpath.basename(path) for path in programs if path.startswith("/usr/local/sbin/")} == {
        "kubelet",
        "kube-proxy",
        "runc",
        "crictl",
    }
    assert not [path for path in programs if path.startswith("/usr/local/bin/")]


def test_containerd_is_asked_wherever_the_layout_has_the_program_that_asks(dev: Spec, tmp_path: Path) -> None:
    put(tmp_path, "crictl", "echo asked")
    moved = replace(dev, layout=replace(dev.layout, binaries=str(tmp_path)))
    health = services(moved, moved.workers[0])["containerd"].health.replace(PROGRAMS, str(ASSETS / "node"))
    result = subprocess.run(["bash", "-c", health], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False)
    assert result.returncode == 0, result.stdout


def test_other_kernel_settings_are_told_to_the_program_that_loads_them(dev: Spec) -> None:
    moved = replace(dev, layout=replace(dev.layout, kernel_settings="/etc/sysctl.d/99-cri.conf"))
    service = services(moved, moved.workers[0])["node-setup"]
    assert "/etc/sysctl.d/99-cri.conf" in service.files
    assert (
        "ExecStart=/usr/local/lib/hardway/node-setup /etc/sysctl.d/99-cri.conf\n"
        in (service.visible_files["/etc/systemd/system/node-setup.service"])
    )


# The program that admits nodes


def node_object(name: str, ready: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": dict(annotations)},
        "status": {"conditions": [{"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": ready}]},
    }


def admitted(folder: Path, nodes: list[dict[str, Any]], tokens: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """One round of the program: the Secrets that it applies, by name. For the next one it waits a minute at most."""
    programs, held, applied = folder / "bin", folder / "tokens", folder / "applied"
    programs.mkdir()
    held.mkdir()
    for node, text in tokens.items():
        (held / node).write_text(text)
    answer, note = f'cat "{folder}/nodes.json"', f'echo "$@" >"{folder}/arguments"; cat >"{applied}"'
    kubectl = f'if [ "$1" = get ]; then {answer}; else {note}; fi'
    (folder / "nodes.json").write_text(json.dumps({"items": nodes}))
    for name, body in {"kubectl": kubectl, "systemd-notify": "", "sleep": 'test "$1" -le 60 && exit 7'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    result = subprocess.run(
        [PROGRAM, held, GROUP],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 7, result.stderr
    shown = result.stdout + result.stderr + ((folder / "arguments").read_text() if applied.exists() else "")
    assert not [text for text in tokens.values() if text.partition(".")[2] in shown]
    if not applied.exists():
        return {}
    documents = list(yaml.safe_load_all(re.sub(r"^}$", "}\n---", applied.read_text(), flags=re.MULTILINE)))
    return {document["metadata"]["name"]: document for document in documents if document}


TOKEN_OF_1, TOKEN_OF_2 = "aaaaaa.0123456789abcdef", "bbbbbb.fedcba9876543210"


def test_a_node_that_was_never_there_is_admitted_for_an_hour(tmp_path: Path) -> None:
    secrets = admitted(tmp_path, [], {"node-1": TOKEN_OF_1, "node-2": TOKEN_OF_2})
    assert set(secrets) == {"bootstrap-token-aaaaaa", "bootstrap-token-bbbbbb"}
    secret = secrets["bootstrap-token-aaaaaa"]
    assert (secret["metadata"]["namespace"], secret["type"]) == ("kube-system", "bootstrap.kubernetes.io/token")
    expiration = secret["stringData"].pop("expiration")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", expiration)
    assert secret["stringData"] == {
        "token-id": "aaaaaa",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": GROUP,
    }


def test_a_node_that_has_joined_needs_no_token(tmp_path: Path) -> None:
    nodes = [
        node_object("node-1", "True", {"hardway.dev/bootstrap-token": "aaaaaa"}),
        node_object("node-2", "True", {"hardway.dev/bootstrap-token": "bbbbbb"}),
    ]
    assert admitted(tmp_path, nodes, {"node-1": TOKEN_OF_1, "node-2": TOKEN_OF_2}) == {}


@pytest.mark.parametrize(
    ("ready", "annotations"),
    [("True", {}), ("Unknown", {"hardway.dev/bootstrap-token": "aaaaaa"})],
    ids=["had its certificate from the lab", "is gone, and may come back as another machine"],
)
def test_a_node_is_admitted_again(ready: str, annotations: dict[str, str], tmp_path: Path) -> None:
    nodes = [
        node_object("node-1", ready, annotations),
        node_object("node-2", "True", {"hardway.dev/bootstrap-token": "bbbbbb"}),
    ]
    secrets = admitted(tmp_path, nodes, {"node-1": TOKEN_OF_1, "node-2": TOKEN_OF_2})
    assert set(secrets) == {"bootstrap-token-aaaaaa"}
