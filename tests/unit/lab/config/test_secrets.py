"""Values that Pulumi holds as secret: where they are allowed, and that no message shows them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.parse import ConfigurationError, parse, secret_values
from lab.config.secrets import KeyPath
from tests.support.ssh_keys import HOST_KEY, PRIVATE_KEY

SECRET = "S3cret-4711"
MACHINE = {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}
WORKER = {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"}

PROCESSOR = {"containerd": {"stream_processors": {"x": {"args": [SECRET]}}}}


def workers(**values: Any) -> dict[str, Any]:
    """Return a configuration with one worker on an existing machine."""
    return {"workers": [WORKER | {"machine": MACHINE} | values]}


ALLOWED: dict[str, tuple[dict[str, Any], KeyPath]] = {
    "a field of containerd": (PROCESSOR, ("containerd", "stream_processors", "x", "args", 0)),
    "all of containerd": (PROCESSOR, ("containerd",)),
    "a field of the kubelet": ({"kubelet": {"staticPodURL": SECRET}}, ("kubelet", "staticPodURL")),
    "a node's field": (workers(containerd={"root": SECRET}), ("workers", 0, "containerd", "root")),
    "the fields of a node": (workers(containerd={"root": SECRET}), ("workers", 0, "containerd")),
}

REFUSED: dict[str, tuple[dict[str, Any], KeyPath, str]] = {
    "a text": ({"clusterDomain": SECRET}, ("clusterDomain",), "clusterDomain"),
    "a flag": ({"apiServerFlags": {"a": SECRET}}, ("apiServerFlags", "a"), "apiServerFlags.a"),
    "a field of kube-proxy": ({"kubeProxy": {"a": SECRET}}, ("kubeProxy", "a"), "kubeProxy.a"),
    "a label": (workers(labels={"a": SECRET}), ("workers", 0, "labels", "a"), "workers[0].labels.a"),
    "a taint": (workers(taints=[SECRET]), ("workers", 0, "taints", 0), "workers[0].taints[0]"),
    "all workers": (workers(), ("workers",), "workers[0].name"),
    "a path": ({"layout": {"kubeletKey": f"/{SECRET}/"}}, ("layout", "kubeletKey"), "layout.kubeletKey"),
}


@pytest.mark.parametrize(("values", "path"), ALLOWED.values(), ids=ALLOWED.keys())
def test_secret_is_allowed(values: dict[str, Any], path: KeyPath) -> None:
    assert parse(values, [path]).secrets == {SECRET}


@pytest.mark.parametrize(("values", "path", "key"), REFUSED.values(), ids=REFUSED.keys())
def test_secret_is_refused_where_it_would_show(values: dict[str, Any], path: KeyPath, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(values, [path])
    assert f"hardway:{key}" in [problem.key for problem in caught.value.problems if "as secret" in problem.explanation]
    assert SECRET not in str(caught.value)


def test_private_key_beside_plain_fields_is_allowed() -> None:
    assert PRIVATE_KEY in parse(workers(), [("workers", 0, "machine", "privateKey")]).secrets


def test_spec_does_not_show_its_secrets() -> None:
    assert SECRET not in repr(parse({"containerd": {"root": SECRET}}, [("containerd",)]))


def test_misspelled_secret_key_is_one_problem() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse({"containerdd": {"a": SECRET}}, ["hardway:containerdd"])
    assert [problem.key for problem in caught.value.problems] == ["hardway:containerdd"]


ENCRYPTED = {"hardway:containerd": {"a": "plain", "b": [{"c": {"secure": "v1:x"}}], "d": 1}}


def test_stack_file_tells_which_values_are_secret(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(yaml.safe_dump({"config": ENCRYPTED}))
    values = {"hardway:containerd": '{"a": "plain", "b": [{"c": "decrypted"}], "d": 1}'}
    assert secret_values(values, ["hardway:containerd"], file) == {("containerd", "b", 0, "c")}


@pytest.mark.parametrize(
    "decrypted",
    ['{"a": "other", "b": [{"c": "x"}], "d": 1}', '{"a": "plain", "b": [], "d": 1}', '{"a": "plain"}', "text"],
)
def test_whole_value_is_secret_if_the_stack_file_has_another(tmp_path: Path, decrypted: str) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(yaml.safe_dump({"config": ENCRYPTED}))
    assert secret_values({"hardway:containerd": decrypted}, ["hardway:containerd"], file) == {("containerd",)}


@pytest.mark.parametrize("text", [None, "", "[", "config: 1", "config: {hardway:containerd: {a: 1}}"])
def test_whole_value_is_secret_without_a_readable_stack_file(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    if text is not None:
        file.write_text(text)
    values = {"hardway:containerd": '{"a": 1}', "other:key": "x"}
    assert secret_values(values, ["hardway:containerd", "other:key"], file) == {("containerd",)}
