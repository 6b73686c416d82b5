"""The registries of a configuration: their files on the nodes, and refused configurations."""

import base64
import tomllib
from typing import Any

import pytest

from lab.config.parse import ConfigurationError, parse
from lab.node.render import services_of
from lab.node.service import File, Service
from lab.spec import Spec
from tests.support.certificates import AUTHORITY, pair

FOLDER = "/etc/containerd/certs.d"
NODE_0 = {"name": "node-0", "address": "10.240.0.20", "podCidr": "10.200.0.0/24"}
PEM, _ = pair(AUTHORITY)
MIRROR = "https://mirror.example:5000"


def configured(*registries: dict[str, Any], node: dict[str, Any] | None = None, **lab: Any) -> Spec:
    return parse({"registries": list(registries), "workers": [NODE_0 | (node or {})], **lab})


def containerd(spec: Spec) -> Service:
    return next(service for service in services_of(spec, spec.workers[0]) if service.name == "containerd")


def registry_files(spec: Spec) -> dict[str, File]:
    """Return the files of registries, by path in their folder."""
    files = containerd(spec).files.items()
    return {path.removeprefix(f"{FOLDER}/"): file for path, file in files if path.startswith(FOLDER)}


def hosts(spec: Spec, host: str) -> dict[str, Any]:
    content = registry_files(spec)[f"{host}/hosts.toml"].content
    assert isinstance(content, str)
    return tomllib.loads(content)


def problems(*registries: dict[str, Any], **lab: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        configured(*registries, **lab)
    return str(error.value)


def test_mirrors_come_before_the_registry_in_their_order() -> None:
    spec = configured({"host": "docker.io", "mirrors": [f"{MIRROR}/", "http://10.0.0.1:5000"]})
    document = hosts(spec, "docker.io")
    assert list(document) == ["host"]
    assert list(document["host"]) == [MIRROR, "http://10.0.0.1:5000"]
    assert document["host"][MIRROR] == {"capabilities": ["pull", "resolve"]}


def test_settings_without_mirrors_are_those_of_the_registry() -> None:
    document = hosts(configured({"host": "registry.example:5000", "skipVerify": True}), "registry.example:5000")
    assert document["server"] == "https://registry.example:5000"
    assert document["skip_verify"] is True
    assert hosts(configured({"host": "docker.io"}), "docker.io")["server"] == "https://registry-1.docker.io"


def test_a_star_is_every_registry_without_an_entry() -> None:
    assert MIRROR in hosts(configured({"host": "*", "mirrors": [MIRROR]}), "_default")["host"]


def test_credentials_are_a_header() -> None:
    spec = configured({"host": "docker.io", "mirrors": [MIRROR], "username": "ci", "password": "pä ss"})
    header = hosts(spec, "docker.io")["host"][MIRROR]["header"]["Authorization"]
    assert base64.b64decode(header.removeprefix("Basic ")).decode() == "ci:pä ss"
    assert "pä ss" not in repr(spec)
    assert registry_files(spec)["docker.io/hosts.toml"].mode == 0o600


@pytest.mark.parametrize("secret", [[], [("registries", 0, "password")]])
def test_no_preview_shows_credentials(secret: list[tuple[str | int, ...]]) -> None:
    values = {"registries": [{"host": "docker.io", "username": "ci", "password": "s3cr3t-one"}], "workers": [NODE_0]}
    service = containerd(parse(values, secret))
    path = f"{FOLDER}/docker.io/hosts.toml"
    assert path in service.secret_files
    assert path not in service.visible_files
    assert service.secrets == ({"s3cr3t-one"} if secret else frozenset())


def test_an_authority_is_a_file_beside() -> None:
    spec = configured({"host": "docker.io", "mirrors": [MIRROR], "certificateAuthority": f"a comment\n{PEM}"})
    assert hosts(spec, "docker.io")["host"][MIRROR]["ca"] == "ca.crt"
    assert registry_files(spec)["docker.io/ca.crt"].content == PEM


def test_capabilities_and_path_are_set_for_each_mirror() -> None:
    entry = {"host": "docker.io", "mirrors": [f"{MIRROR}/v2/hub"], "capabilities": ["pull"], "overridePath": True}
    assert hosts(configured(entry), "docker.io")["host"][f"{MIRROR}/v2/hub"] == {
        "capabilities": ["pull"],
        "override_path": True,
    }


def test_an_entry_of_a_node_replaces_that_of_the_lab() -> None:
    lab = [{"host": "docker.io", "mirrors": [MIRROR]}, {"host": "ghcr.io", "mirrors": [MIRROR]}]
    spec = configured(*lab, node={"registries": [{"host": "docker.io", "mirrors": ["http://10.0.0.1"]}]})
    assert list(hosts(spec, "docker.io")["host"]) == ["http://10.0.0.1"]
    assert list(hosts(spec, "ghcr.io")["host"]) == [MIRROR]


def test_registries_restart_nothing() -> None:
    spec = configured({"host": "docker.io", "mirrors": [MIRROR], "certificateAuthority": PEM})
    assert {file.effect for file in registry_files(spec).values()} == {"keep"}
    without = containerd(configured())
    assert without.files.items() <= containerd(spec).files.items()


def test_containerd_reads_the_folder_unless_the_stack_sets_registries_itself() -> None:
    def images(spec: Spec) -> dict[str, Any]:
        content = containerd(spec).files["/etc/containerd/config.toml"].content
        assert isinstance(content, str)
        plugin: dict[str, Any] = tomllib.loads(content)["plugins"]["io.containerd.cri.v1.images"]
        return plugin

    assert images(configured())["registry"] == {"config_path": FOLDER}
    own = {"plugins": {"io.containerd.cri.v1.images": {"registry": {"headers": {"X-Meta": ["lab"]}}}}}
    assert images(configured(containerd=own))["registry"] == {"headers": {"X-Meta": ["lab"]}}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"host": "hub.docker.com"}, 'registries[0].host = "hub.docker.com": is not in the names of images; did you'),
        ({"host": "https://a.example/b"}, "before the first slash, such as a.example"),
        ({"host": "mirror"}, "must be the host of a registry with a dot or a port"),
        ({"host": "*"}, 'must have mirrors, because "*" is not a single registry'),
        ({"hots": "a.example"}, "registries[0].hots: is an unknown key; did you mean host?"),
        ({"mirrors": ["mirror.example:5000"]}, "registries[0].mirrors[0] = "),
        ({"mirrors": ["ftp://mirror.example"]}, "must be a URL without credentials and query"),
        ({"mirrors": ["https://a:b@mirror.example"]}, "must not contain credentials; set username and password"),
        ({"mirrors": [MIRROR, f"{MIRROR}/"]}, f"has the mirror {MIRROR} twice"),
        ({"capabilities": ["pul"]}, "is not a capability; did you mean pull?"),
        ({"username": "ci"}, "must have both a username and a password"),
        ({"username": "a:b", "password": "c"}, "must not contain a colon"),
        ({"username": "ci", "password": "secret\n"}, "registries[0].password: must be one line"),
        ({"certificateAuthority": "no PEM"}, "registries[0].certificateAuthority: must be certificates in PEM format"),
        ({"mirrors": ["http://10.0.0.1"], "skipVerify": True}, "has no https mirror"),
    ],
)
def test_wrong_entries_are_refused(entry: dict[str, Any], message: str) -> None:
    host = {} if "hots" in entry else {"host": "docker.io"}
    assert message in problems(host | entry)


def test_an_authority_is_not_skipped() -> None:
    entry = {"host": "docker.io", "certificateAuthority": PEM, "skipVerify": True}
    assert "must not have both certificateAuthority and skipVerify" in problems(entry)


def test_a_host_has_one_entry() -> None:
    message = problems({"host": "docker.io"}, {"host": "docker.io"})
    assert "hardway:registries[1].host" in message
    assert "is also the host of registries[0]" in message


def test_registries_exclude_settings_of_containerd_for_them() -> None:
    own = {"plugins": {"io.containerd.cri.v1.images": {"registry": {"config_path": "/etc/x"}}}}
    message = problems({"host": "docker.io", "mirrors": [MIRROR]}, containerd=own)
    assert "hardway:containerd.plugins.io.containerd.cri.v1.images.registry" in message


def test_no_message_shows_a_password() -> None:
    assert "s3cr3t" not in problems({"host": "*", "username": "", "password": "s3cr3t"})


def test_a_control_plane_without_pods_has_no_registries() -> None:
    control_plane = {"name": "server", "address": "10.240.0.10", "registries": [{"host": "docker.io"}]}
    assert "controlPlanes[0].registries" in problems(controlPlanes=[control_plane])
