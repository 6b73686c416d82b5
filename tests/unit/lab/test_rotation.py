"""The order of the steps of a rotation, and the proofs that each step needs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lab.certificates import key_id
from lab.config.parse import parse
from lab.node.paths import SERVICE_ACCOUNT_KEYS
from lab.node.render import render
from lab.pki import ISSUERS, SERVICE_ACCOUNTS
from lab.rotation import (
    InUse,
    IssuerFile,
    NodeFiles,
    RotationError,
    Step,
    Token,
    ensure_in_order,
    ensure_proven,
    node_files,
    rotation_inputs,
    steps,
)
from lab.spec import Spec
from tests.support.certificates import VALID, pair

KUBERNETES = "kubernetes-ca"
NOW = datetime.now(UTC)
CA_1, CA_2 = "hardway kubernetes CA", "hardway kubernetes CA ca-2"


def rotated(**authorities: Any) -> Spec:
    return parse({"certificateAuthorities": authorities})


def step(before: tuple[str, ...], after: tuple[str, ...], issuer: str = KUBERNETES) -> Step:
    return Step(issuer=issuer, before=before, after=after)


def test_a_lab_without_rotation_records_nothing() -> None:
    assert rotation_inputs(parse({})) == {}
    assert steps(parse({}), {}) == []


def test_the_default_keys_are_recorded_by_their_absence() -> None:
    inputs = rotation_inputs(rotated(etcd=["ca-1", "ca-2"]))
    assert inputs == {"issuers": {"etcd-ca": ["ca-1", "ca-2"]}}
    assert steps(parse({}), inputs) == [step(("ca-1", "ca-2"), ("ca-1",), "etcd-ca")]


def test_every_issuer_can_be_rotated() -> None:
    names = ["new", "old"]
    values = {"kubernetes": names, "etcd": names, "frontProxy": names}
    spec = parse({"certificateAuthorities": values, "serviceAccountKeys": names})
    assert rotation_inputs(spec)["issuers"].keys() == ISSUERS.keys()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("a",), ("a", "b")),
        (("a", "b"), ("b", "a")),
        (("b", "a"), ("b",)),
        (("a", "b"), ("a",)),
        (("a", "b", "c"), ("b", "a", "d")),
    ],
)
def test_steps_in_order_are_allowed(before: tuple[str, ...], after: tuple[str, ...]) -> None:
    ensure_in_order(step(before, after))


@pytest.mark.parametrize(
    ("before", "after", "way"),
    [
        (("a",), ("b",), r"Set \[a, b\] first"),
        (("a",), ("b", "a"), r"Set \[a, b\] first"),
        (("a", "b"), ("b",), r"Set \[b, a\] first"),
    ],
)
def test_a_step_that_leaves_one_out_is_refused(before: tuple[str, ...], after: tuple[str, ...], way: str) -> None:
    with pytest.raises(RotationError, match=way):
        ensure_in_order(step(before, after))


def prove(change: Step, files: NodeFiles, in_use: InUse, kubeconfigs: dict[str, str] | None = None) -> None:
    """Prove a step of a lab with one node."""
    ensure_proven(parse({}), change, {"node-0": (files, in_use)}, kubeconfigs or {}, NOW)


TRUSTED = NodeFiles(trusted=(IssuerFile(service="kubelet", path="/ca.crt", issuer=KUBERNETES),), issued=())
ISSUED = NodeFiles(trusted=(), issued=(IssuerFile(service="kubelet", path="/kubelet.crt", issuer=KUBERNETES),))
ISSUE, DROP = step(("ca-1", "ca-2"), ("ca-2", "ca-1")), step(("ca-2", "ca-1"), ("ca-2",))


OLD, NEW = (pair(name, authority=True)[0] for name in (CA_1, CA_2))


def issued_by(authority: str, end: datetime = VALID[1]) -> str:
    """Return a client certificate of an authority."""
    return pair("alice", issuer=authority, valid=(VALID[0], end))[0]


def test_a_new_authority_issues_once_every_file_has_it() -> None:
    prove(ISSUE, TRUSTED, InUse(files={"/ca.crt": OLD + NEW}))
    for text in ("", OLD):
        with pytest.raises(RotationError, match="kubelet on node-0 does not trust it: /ca"):
            prove(ISSUE, TRUSTED, InUse(files={"/ca.crt": text}))


def test_a_new_authority_issues_once_every_namespace_has_it() -> None:
    files = {"/ca.crt": OLD + NEW}
    prove(ISSUE, TRUSTED, InUse(files=files, published={"default": OLD + NEW}))
    with pytest.raises(RotationError, match="namespace default do not trust it"):
        prove(ISSUE, TRUSTED, InUse(files=files, published={"default": OLD}))


def test_an_authority_is_dropped_once_no_certificate_is_from_it() -> None:
    prove(DROP, ISSUED, InUse(files={"/kubelet.crt": issued_by(CA_2)}))
    prove(DROP, ISSUED, InUse(files={"/kubelet.crt": ""}))
    with pytest.raises(RotationError, match="kubelet on node-0 has a certificate of ca-1: /kubelet"):
        prove(DROP, ISSUED, InUse(files={"/kubelet.crt": issued_by(CA_1)}))


def test_a_valid_kubeconfig_of_a_user_keeps_its_authority() -> None:
    valid, expired = (issued_by(CA_1, NOW + timedelta(hours=hours)) for hours in (1, -1))
    prove(DROP, ISSUED, InUse(files={}), {"kubeconfig-alice": expired})
    with pytest.raises(RotationError, match="kubeconfig-alice has a certificate of ca-1 until"):
        prove(DROP, ISSUED, InUse(files={}), {"kubeconfig-alice": valid})


KEYS = {SERVICE_ACCOUNT_KEYS: "key-1 one\nkey-2 two\n"}
NONE = NodeFiles(trusted=(), issued=())


@pytest.mark.parametrize("holder", ["pod default/web", "Secret default/legacy"])
def test_a_key_is_dropped_once_no_token_is_from_it(holder: str) -> None:
    drop = step(("key-2", "key-1"), ("key-2",), SERVICE_ACCOUNTS)
    prove(drop, NONE, InUse(files=KEYS, tokens=(Token(holder=holder, key_id="two"),)))
    with pytest.raises(RotationError, match=f"{holder} has a token of key-1"):
        prove(drop, NONE, InUse(files=KEYS, tokens=(Token(holder=holder, key_id="one"),)))


@pytest.mark.parametrize("files", [{}, {SERVICE_ACCOUNT_KEYS: "key-1 one\n"}])
def test_a_key_that_no_api_server_got_is_dropped(files: dict[str, str]) -> None:
    tokens = (Token(holder="pod default/web", key_id="one"),)
    prove(step(("key-1", "key-2"), ("key-1",), SERVICE_ACCOUNTS), NONE, InUse(files=files, tokens=tokens))


def test_without_key_ids_every_token_is_of_the_default_key() -> None:
    tokens = (Token(holder="pod default/web", key_id="one"),)
    with pytest.raises(RotationError, match="pod default/web has a token of key-1"):
        prove(step(("key-2", "key-1"), ("key-2",), SERVICE_ACCOUNTS), NONE, InUse(files={}, tokens=tokens))


def test_a_token_of_another_issuer_keeps_no_key() -> None:
    tokens = (Token(holder="pod default/web", key_id="foreign"),)
    prove(step(("key-2", "key-1"), ("key-2",), SERVICE_ACCOUNTS), NONE, InUse(files=KEYS, tokens=tokens))


def test_a_refused_step_has_changed_nothing() -> None:
    with pytest.raises(RotationError, match=r"\. Nothing was changed:\n"):
        prove(ISSUE, TRUSTED, InUse(files={"/ca.crt": OLD}))


def test_a_key_signs_once_every_api_server_has_it() -> None:
    file = IssuerFile(service="kube-apiserver", path=SERVICE_ACCOUNT_KEYS, issuer=SERVICE_ACCOUNTS)
    files = NodeFiles(trusted=(file,), issued=())
    sign = step(("key-1", "key-2"), ("key-2", "key-1"), SERVICE_ACCOUNTS)
    prove(sign, files, InUse(files=KEYS))
    with pytest.raises(RotationError, match="kube-apiserver on node-0 does not trust it"):
        prove(sign, files, InUse(files={SERVICE_ACCOUNT_KEYS: "key-1 one\n"}))


def test_a_long_list_of_reasons_is_shortened() -> None:
    tokens = tuple(Token(holder=f"pod default/{number}", key_id="one") for number in range(12))
    with pytest.raises(RotationError, match="and 2 more"):
        prove(step(("key-2", "key-1"), ("key-2",), SERVICE_ACCOUNTS), NONE, InUse(files=KEYS, tokens=tokens))


def test_every_certificate_of_a_node_is_checked() -> None:
    spec = parse({"apiAddress": "10.240.0.5", "certificateAuthorities": {"kubernetes": ["ca-1", "ca-2"]}})
    lab = render(spec)
    found = {node.node.name: node_files(spec, node.node, node.services, lab.identities) for node in lab.nodes.values()}
    for node in lab.nodes.values():
        pairs = {path for service in node.services for path in service.files if path.endswith((".crt", ".pem"))}
        checked = set(found[node.node.name].paths)
        assert pairs - checked <= {"/var/lib/kube-controller-manager/issuing-ca.crt"}
    assert IssuerFile(service="haproxy", path="/etc/haproxy/ca.crt", issuer=KUBERNETES) in found["server"].trusted
    assert IssuerFile(service="haproxy", path="/etc/haproxy/client.pem", issuer=KUBERNETES) in found["server"].issued


def test_a_client_certificate_from_the_cluster_is_checked() -> None:
    spec = parse({"tlsBootstrap": True})
    lab = render(spec)
    node = lab.nodes["node-0"]
    issued = node_files(spec, node.node, node.services, lab.identities).issued
    assert spec.layout.of(node.node).kubelet_client_certificate in {file.path for file in issued}


def test_key_id_is_that_of_kubernetes() -> None:
    public_key = (
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n"
        "q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n"
        "-----END PUBLIC KEY-----\n"
    )
    assert len(key_id(public_key)) == 43
    assert not set(key_id(public_key)) & set("+/=")
