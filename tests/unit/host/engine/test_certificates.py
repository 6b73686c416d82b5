"""The certificates that can be renewed before their time."""

from __future__ import annotations

from typing import Any

import pytest

from host.engine.certificates import renewable
from lab.pki import identities
from lab.spec import Spec
from system.errors import HostError

PREFIX = "urn:pulumi:dev::hardway::hardway:lab:Lab$hardway:pki:Pki$"
SIGNED = "tls:index/locallySignedCert:LocallySignedCert"


def deployment(*names: str) -> dict[str, Any]:
    """Return a state with certificates of the given names, their keys, and an authority."""
    types = [(SIGNED, name) for name in names] + [("tls:index/privateKey:PrivateKey", name) for name in names]
    types.append(("tls:index/selfSignedCert:SelfSignedCert", "kubernetes-ca"))
    return {"resources": [{"type": type_, "urn": f"{PREFIX}{type_}::{name}"} for type_, name in types]}


def names(urns: list[str]) -> list[str]:
    """Return the names of certificates."""
    assert all(urn.startswith(f"{PREFIX}{SIGNED}::") for urn in urns)
    return [urn.rpartition("::")[2] for urn in urns]


def test_everything_but_authorities_is_renewed(dev: Spec) -> None:
    signed = deployment(*identities(dev))
    assert names(renewable(signed, [])) == list(identities(dev))


def test_nodes_have_their_own_certificates(dev: Spec) -> None:
    signed = deployment(*identities(dev))
    assert names(renewable(signed, ["node-1"])) == ["kubelet-node-1"]
    assert names(renewable(signed, ["server", "node-0"])) == ["etcd-server", "kubelet-node-0"]


def test_a_name_of_a_shared_certificate_is_no_node() -> None:
    signed = deployment("kube-apiserver-kubelet-client", "kube-apiserver", "kubelet-node-0", "etcd-server")
    for name in ("client", "apiserver", "node"):
        with pytest.raises(HostError, match=rf"only for {name}\. Nodes with such a certificate: node-0, server\."):
            renewable(signed, [name])


def test_a_deleted_copy_is_renewed_once() -> None:
    twice = deployment("kubelet-node-0", "kubelet-node-0")
    assert names(renewable(twice, [])) == names(renewable(twice, ["node-0"])) == ["kubelet-node-0"]


@pytest.mark.parametrize("signed", [{}, {"resources": None}, deployment()])
@pytest.mark.parametrize("nodes", [[], ["node-0"]])
def test_given_certificates_cannot_be_renewed(signed: dict[str, Any], nodes: list[str]) -> None:
    with pytest.raises(HostError, match="no certificate that the lab has signed"):
        renewable(signed, nodes)
