"""The keys of certificate authorities and of service account tokens."""

from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.pki import ISSUERS, is_rotated, issuer_identity, issuer_keys


def test_every_issuer_has_its_default_key() -> None:
    spec = parse({})
    assert {issuer: issuer_keys(spec, issuer) for issuer in ISSUERS} == {
        issuer: (key,) for issuer, key in ISSUERS.items()
    }
    assert not any(is_rotated(spec, issuer) for issuer in ISSUERS)


def test_the_default_key_has_the_resources_of_existing_labs() -> None:
    assert issuer_identity("etcd-ca", "ca-1") == "etcd-ca"
    assert issuer_identity("etcd-ca", "ca-2") == "etcd-ca/ca-2"


def test_the_first_key_of_an_issuer_stays_the_first() -> None:
    spec = parse({"certificateAuthorities": {"frontProxy": ["b", "a"]}, "serviceAccountKeys": ["d", "c"]})
    assert issuer_keys(spec, "front-proxy-ca") == ("b", "a")
    assert issuer_keys(spec, "service-accounts") == ("d", "c")
    assert issuer_keys(spec, "kubernetes-ca") == ("ca-1",)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"serviceAccountKeys": []}, "must not be empty"),
        ({"serviceAccountKeys": ["a", "a"]}, "must not contain a twice"),
        ({"certificateAuthorities": {"etcd": ["ca/2"]}}, r"etcd\[0\] = \"ca/2\": must be a name of at most 32"),
        ({"certificateAuthorities": {"front-proxy": ["a"]}}, "did you mean frontProxy"),
    ],
)
def test_wrong_keys_are_refused(values: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        parse(values)
