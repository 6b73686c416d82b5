"""The table of certificates: subjects, names, usages and authorities."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.pki import Authority, Identity, Use, identities
from lab.spec import Spec

SERVER, CLIENT = Use.SERVER, Use.CLIENT

SUBJECTS: dict[str, tuple[str, str | None, set[Use], Authority]] = {
    "kube-apiserver": ("kube-apiserver", None, {SERVER}, Authority.KUBERNETES),
    "kube-apiserver-kubelet-client": ("kubernetes", None, {CLIENT}, Authority.KUBERNETES),
    "kube-apiserver-etcd-client": ("kube-apiserver-etcd-client", None, {CLIENT}, Authority.ETCD),
    "front-proxy-client": ("front-proxy-client", None, {CLIENT}, Authority.FRONT_PROXY),
    "kube-controller-manager": ("system:kube-controller-manager", None, {CLIENT}, Authority.KUBERNETES),
    "kube-scheduler": ("system:kube-scheduler", None, {CLIENT}, Authority.KUBERNETES),
    "kube-proxy": ("system:kube-proxy", "system:node-proxier", {CLIENT}, Authority.KUBERNETES),
    "kube-network-policies": ("kube-network-policies", None, {CLIENT}, Authority.KUBERNETES),
    "admin": ("admin", "system:masters", {CLIENT}, Authority.KUBERNETES),
    "etcd-server": ("server", None, {SERVER, CLIENT}, Authority.ETCD),
    "kubelet-node-0": ("system:node:node-0", "system:nodes", {SERVER, CLIENT}, Authority.KUBERNETES),
    "kubelet-node-1": ("system:node:node-1", "system:nodes", {SERVER, CLIENT}, Authority.KUBERNETES),
}


def names(identity: Identity) -> set[str]:
    return {*identity.dns_names, *map(str, identity.addresses)}


def test_no_other_certificates_exist(dev: Spec) -> None:
    assert identities(dev).keys() == SUBJECTS.keys()


@pytest.mark.parametrize("name", SUBJECTS)
def test_subject_and_usages_of_a_certificate(name: str, dev: Spec) -> None:
    identity = identities(dev)[name]
    subject = (identity.common_name, identity.organization, set(identity.uses), identity.authority)
    assert subject == SUBJECTS[name]


def test_names_of_a_kubelet(dev: Spec) -> None:
    assert names(identities(dev)["kubelet-node-1"]) == {"node-1", "node-1.hardway.local", "10.240.0.21"}


def test_names_of_a_kubelet_with_a_domain(dev: Spec) -> None:
    workers = (dev.workers[0], replace(dev.workers[1], name="node-1.example.com"))
    kubelet = identities(replace(dev, workers=workers))["kubelet-node-1.example.com"]
    assert kubelet.common_name == "system:node:node-1.example.com"
    assert names(kubelet) == {"node-1.example.com", "10.240.0.21"}


def test_names_of_the_api_server(dev: Spec) -> None:
    assert names(identities(dev)["kube-apiserver"]) == {
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "server",
        "127.0.0.1",
        "10.32.0.1",
        "10.240.0.10",
    }


def test_the_api_server_has_names_of_all_control_planes(dev: Spec) -> None:
    second = replace(dev.control_planes[0], name="server-2", address=IPv4Address("10.240.0.11"))
    wider = replace(dev, control_planes=(*dev.control_planes, second))
    assert {"server-2", "10.240.0.11"} <= names(identities(wider)["kube-apiserver"])


def test_names_of_an_etcd_member(dev: Spec) -> None:
    assert names(identities(dev)["etcd-server"]) == {"server", "localhost", "10.240.0.10", "127.0.0.1"}


def test_only_servers_have_names(dev: Spec) -> None:
    for name, identity in identities(dev).items():
        assert bool(names(identity)) is (Use.SERVER in identity.uses), name


def test_adding_a_worker_changes_no_certificate(dev: Spec) -> None:
    added = replace(dev.workers[0], name="node-2", address=IPv4Address("10.240.0.22"))
    before, after = identities(dev), identities(replace(dev, workers=(*dev.workers, added)))
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"kubelet-node-2"}
