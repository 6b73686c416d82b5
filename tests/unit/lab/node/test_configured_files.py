"""Configured files, kernel settings, documents and flags in the services of a node."""

from typing import Any

import pytest
import yaml

from lab.config.parse import parse
from lab.node.configured_files import FileConflictError
from lab.node.render import render, services_of
from lab.node.service import Service
from lab.pki import identities
from lab.spec import Spec

FILE = {"text": "x"}


def service(values: dict[str, Any], name: str, node: int = 0) -> Service:
    """Return a service of a node, control planes first."""
    spec: Spec = parse(values)
    [found] = [each for each in services_of(spec, spec.nodes[node]) if each.name == name]
    return found


def test_file_is_on_nodes_that_run_its_service() -> None:
    spec = parse({"files": {"/etc/a": FILE | {"service": "kubelet", "onChange": "none", "mode": "0640"}}})
    owners = [
        (name, each.name, each.files["/etc/a"])
        for name, node in render(spec).nodes.items()
        for each in node.services
        if "/etc/a" in each.files
    ]
    assert [(name, owner) for name, owner, _ in owners] == [("node-0", "kubelet"), ("node-1", "kubelet")]
    assert {(file.content, file.mode, file.effect) for _, _, file in owners} == {("x", 0o640, "keep")}


@pytest.mark.parametrize(
    "path", ["/var/lib/kubelet/kubelet-config.yaml", "/etc/containerd/config.toml/x", "/var/lib/kubelet"]
)
def test_path_of_the_lab_is_refused(path: str) -> None:
    spec = parse({"files": {path: FILE}})
    with pytest.raises(FileConflictError, match=path):
        services_of(spec, spec.workers[0])


def test_node_refuses_a_file_behind_a_link() -> None:
    files = {"/etc/a": FILE | {"service": "kubelet"}, "/etc/b": FILE | {"service": "kubelet"}}
    before, after = service({}, "kubelet", 1), service({"files": files}, "kubelet", 1)
    assert after.check == f"/usr/local/lib/hardway/check-links /etc/a /etc/b && {{ {before.check}; }}"
    assert service({"files": files}, "containerd", 1).check == service({}, "containerd", 1).check


def test_kernel_settings_override_the_defaults() -> None:
    values = {"sysctls": {"vm.max_map_count": 262144, "fs.inotify.max_user_watches": None}}
    text = str(service(values, "node-setup").files["/etc/sysctl.d/kubernetes.conf"].content)
    assert "vm.max_map_count = 262144\n" in text
    assert "max_user_watches" not in text
    assert "fs.inotify.max_user_instances = 8192\n" in text


def flags(values: dict[str, Any]) -> list[str]:
    """Return the flags of the API server."""
    unit = service(values, "kube-apiserver").files["/etc/systemd/system/kube-apiserver.service"].content
    return [line.strip().removesuffix(" \\") for line in str(unit).splitlines() if line.strip().startswith("--")]


DOCUMENTS: dict[str, tuple[dict[str, Any], str, str, dict[str, str]]] = {
    "auditPolicy": (
        {"rules": [{"level": "None"}]},
        "audit-policy-file",
        "audit-policy",
        dict.fromkeys(("v1.31.0", "v1.36.3"), "audit.k8s.io/v1"),
    ),
    "authentication": (
        {"jwt": []},
        "authentication-config",
        "authentication-config",
        {"v1.32.3": "apiserver.config.k8s.io/v1beta1", "v1.36.3": "apiserver.config.k8s.io/v1"},
    ),
    "authorization": (
        {"authorizers": [{"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"}]},
        "authorization-config",
        "authorization-config",
        {"v1.31.0": "apiserver.config.k8s.io/v1beta1", "v1.32.3": "apiserver.config.k8s.io/v1"},
    ),
    "admission": (
        {"plugins": [{"name": "PodSecurity", "configuration": {"defaults": {"enforce": "baseline"}}}]},
        "admission-control-config-file",
        "admission-control-config",
        {"v1.31.0": "apiserver.config.k8s.io/v1"},
    ),
}


@pytest.mark.parametrize("key", DOCUMENTS)
def test_document_has_a_file_a_flag_and_a_version(key: str) -> None:
    fields, flag, name, versions = DOCUMENTS[key]
    path = f"/etc/kubernetes/{name}.yaml"
    for kubernetes_version, api_version in versions.items():
        values = {key: fields, "kubernetesVersion": kubernetes_version}
        file = service(values, "kube-apiserver").files[path]
        assert yaml.safe_load(str(file.content))["apiVersion"] == api_version
        assert file.effect == "restart"
        assert f"--{flag}={path}" in flags(values)


def test_authorization_replaces_the_mode() -> None:
    assert [flag for flag in flags({}) if flag.startswith("--authorization-mode")]
    configured = flags({"authorization": DOCUMENTS["authorization"][0]})
    assert not [flag for flag in configured if flag.startswith("--authorization-mode")]


def test_pod_security_gets_its_version() -> None:
    file = service({"admission": DOCUMENTS["admission"][0]}, "kube-apiserver").files[
        "/etc/kubernetes/admission-control-config.yaml"
    ]
    [plugin] = yaml.safe_load(str(file.content))["plugins"]
    assert plugin["configuration"] == {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline"},
    }


@pytest.mark.parametrize("configured", ["https://x", ["https://x", "https://y"]])
def test_issuer_of_the_lab_stays_accepted(configured: str | list[str]) -> None:
    issuers = [flag for flag in flags({"apiServerFlags": {"service-account-issuer": configured}}) if "issuer" in flag]
    own = [configured] if isinstance(configured, str) else configured
    assert issuers == [
        f"--service-account-issuer={issuer}" for issuer in (*own, "https://kubernetes.default.svc.cluster.local")
    ]


def test_names_are_in_the_certificate() -> None:
    identity = identities(parse({"apiServerNames": ["api.example.com", "192.0.2.1"]}))["kube-apiserver"]
    assert "api.example.com" in identity.dns_names
    assert "192.0.2.1" in map(str, identity.addresses)


@pytest.mark.parametrize(("address", "checked"), [("0.0.0.0", "127.0.0.1"), ("10.240.0.10", "10.240.0.10")])
def test_health_check_follows_the_address(address: str, checked: str) -> None:
    values = {"controllerManagerFlags": {"bind-address": address}, "schedulerFlags": {"bind-address": address}}
    assert f"https://{checked}:10257/healthz" in service(values, "kube-controller-manager").health
    assert f"https://{checked}:10259/healthz" in service(values, "kube-scheduler").health
