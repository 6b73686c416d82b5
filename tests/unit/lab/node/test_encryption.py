"""The EncryptionConfiguration and the keys in it."""

import base64
import json
from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.node.control_plane import kube_apiserver
from lab.node.encryption import encryption, encryption_key, finish_command
from lab.node.paths import ENCRYPTION_CONFIGURATION
from lab.node.service import Service, contents
from lab.spec import Spec


def lab(**encryption: Any) -> Spec:
    return parse({"encryption": encryption})


def api_server(spec: Spec) -> Service:
    return kube_apiserver(spec, spec.control_planes[0])


def configuration(spec: Spec) -> Any:
    texts = contents(api_server(spec), lambda credential: f"{credential.part} {credential.identity}")
    return json.loads(texts[ENCRYPTION_CONFIGURATION])["resources"]


def test_secrets_are_encrypted_by_default() -> None:
    (rule,) = configuration(parse({}))
    assert rule["resources"] == ["secrets"]
    assert rule["providers"] == [
        {"secretbox": {"keys": [{"name": "key-1", "secret": "encryption key key-1"}]}},
        {"identity": {}},
    ]


def test_the_order_of_keys_is_that_of_the_configuration() -> None:
    (rule,) = configuration(lab(keys=["b", "identity", "a"], resources=["secrets", "configmaps"]))
    assert [next(iter(provider)) for provider in rule["providers"]] == ["secretbox", "identity", "secretbox"]
    assert rule["resources"] == ["secrets", "configmaps"]


def test_keys_are_not_in_the_visible_text() -> None:
    assert ENCRYPTION_CONFIGURATION not in api_server(parse({})).visible_files


def test_keys_of_different_names_differ() -> None:
    keys = {encryption_key("master", "a"), encryption_key("master", "b"), encryption_key("another", "a")}
    assert len(keys) == 3
    assert {len(base64.b64decode(key)) for key in keys} == {32}


def test_a_key_never_changes() -> None:
    """Existing objects are encrypted with it, so another derivation would lose them."""
    assert encryption_key("master\n", "key-1") == "OLzG5u+gW6ZgwsQT7LMmrCvCapEeZbVY48LN6/fKMdw="


def test_only_another_first_key_or_resource_encrypts_objects_again() -> None:
    assert encryption(lab(keys=["a", "b"])) == encryption(lab(keys=["a"]))
    assert encryption(lab(keys=["a", "b"])) != encryption(lab(keys=["b", "a"]))
    assert encryption(lab(keys=["a"])) != encryption(lab(keys=["a"], resources=["secrets", "configmaps"]))


def test_every_change_of_keys_is_finished() -> None:
    assert finish_command(lab(keys=["a", "b"])) != finish_command(lab(keys=["b", "a"]))
    assert finish_command(lab(keys=["a", "b"])) != finish_command(lab(keys=["a"]))


def test_another_prefix_in_etcd_is_used() -> None:
    spec = parse({"apiServerFlags": {"etcd-prefix": "kubernetes"}})
    assert api_server(spec).apply.endswith("/encryption apply /kubernetes kube-apiserver")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"keys": []}, "must not be empty"),
        ({"keys": ["a", "a"]}, "must not contain a twice"),
        ({"keys": ["a:b"]}, "must be a name of a-z"),
        ({"resources": ["secret"]}, "must be one of secrets, configmaps"),
        ({"key": ["a"]}, "did you mean keys?"),
    ],
)
def test_wrong_encryption_is_refused(values: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem.replace("?", r"\?")):
        lab(**values)
