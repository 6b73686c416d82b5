"""When certificates end, what renews them, and the client certificates of kubeconfigs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from lab.config.x509 import certificates, client_certificate
from lab.node.kubeconfig import embedded, with_token_file
from lab.spec import Join, Spec
from ops.certificates import CertificateState, expiry, next_renewal, upcoming_renewal
from tests.support.certificates import pair

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
RENEWED = "the next `hardway up` renews it"


def state(common_name: str, days: float, path: str = "/ca.crt") -> CertificateState:
    """Return a certificate that expires in some days."""
    return CertificateState(service="kubelet", path=path, common_name=common_name, end=NOW + timedelta(days=days))


def kubeconfig(user: str) -> str:
    """Return a kubeconfig with a client certificate."""
    certificate, key = pair(user)
    return embedded(
        server="https://a", texts={"authority": "", "certificate": certificate, "key": key}, user=user, cluster="a"
    )


@pytest.fixture
def joined(dev: Spec) -> Spec:
    """A lab that joins a cluster whose CA and administrator are given."""
    join = Join(
        endpoint="https://10.0.0.1:6443",
        authorities=certificates(pair("kubernetes-ca")[0]),
        signer=None,
        bootstrap_token="",
        certificates={},
        kubeconfig=kubeconfig("boss"),
    )
    return replace(dev, join=join)


def test_window_is_the_one_of_the_stack(dev: Spec) -> None:
    short = replace(dev, certificates=replace(dev.certificates, renewal=24))
    assert expiry(state("admin", 1.1), short, NOW) is None
    assert expiry(state("admin", 1), short, NOW) == f"expires on 2026-01-03 03:04 UTC, in 1.0 days; {RENEWED}"
    assert expiry(state("admin", 0), short, NOW) == f"expired on 2026-01-02 03:04 UTC; {RENEWED}"


def test_without_configuration_only_expired_certificates_are_known() -> None:
    assert expiry(state("admin", 1), "cannot be read", NOW) is None
    assert expiry(state("admin", -1), "cannot be read", NOW) == f"expired on 2026-01-01 03:04 UTC; {RENEWED}"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("kubernetes-ca", "set a new one in hardway:join"),
        ("boss", "set a new one in hardway:join"),
        ("system:node:node-0", RENEWED),
    ],
)
def test_given_certificates_are_renewed_by_the_user(joined: Spec, name: str, remedy: str) -> None:
    text = expiry(state(name, -1), joined, NOW)
    assert text is not None
    assert text.endswith(f"; {remedy}")


@pytest.mark.parametrize(("validity", "days"), [(8760, 7), (240, 1)])
def test_renewal_is_announced_before_its_window(dev: Spec, validity: int, days: float) -> None:
    lab = replace(dev, certificates=replace(dev.certificates, validity=validity, renewal=24))
    assert next_renewal(state("admin", 1 + days + 0.1), lab, NOW) is None
    assert next_renewal(state("admin", 1 + days), lab, NOW) == NOW + timedelta(days=days)
    assert next_renewal(state("admin", 1), lab, NOW) is None


def test_announcement_has_both_times(dev: Spec) -> None:
    lab = replace(dev, certificates=replace(dev.certificates, renewal=24))
    expected = "expires on 2026-01-05 03:04 UTC; `hardway up` renews it from 2026-01-04 03:04 UTC on"
    assert upcoming_renewal(state("admin", 3), lab, NOW) == expected
    assert upcoming_renewal(state("admin", 3, "/kubelet-client-current.pem"), lab, NOW) is None
    assert upcoming_renewal(state("admin", 3), "cannot be read", NOW) is None


def test_given_certificates_have_no_announcement(joined: Spec) -> None:
    lab = replace(joined, certificates=replace(joined.certificates, renewal=24))
    assert upcoming_renewal(state("boss", 3), lab, NOW) is None
    assert upcoming_renewal(state("system:node:node-0", 3), lab, NOW)


def test_kubeconfig_has_a_client_certificate() -> None:
    certificate = client_certificate(kubeconfig("alice"))
    assert certificate is not None
    assert certificate.common_name == "alice"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "text",
        "users: []",
        "users: [{user: {client-certificate-data: '?'}}]",
        "a: [",
        with_token_file(server="https://a", authority="/ca.crt", token="/token", user="a"),
        kubeconfig("alice").replace("users:", "users:\n- {name: other, user: {}}"),
    ],
)
def test_other_texts_have_no_client_certificate(text: str) -> None:
    assert client_certificate(text) is None
