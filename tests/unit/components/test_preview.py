"""What a change means, in words."""

from typing import Any

import pytest

from components.preview import describe_change
from lab.node.service import Binary, Credential, File, Image, Part, Service

KUBELET = Service(
    name="kubelet",
    unit="kubelet.service",
    files={
        "/var/lib/kubelet/kubelet-config.yaml": File(content="maxPods: 110\n"),
        "/var/lib/kubelet/kubelet.crt": File(content=Credential(identity="kubelet-node-1", part=Part.CERTIFICATE)),
        "/var/lib/kubelet/watched.yaml": File(content="", restarts=False),
    },
    binaries={"/usr/local/bin/kubelet": Binary(name="kubelet", version="v1.36.3")},
    images=(Image(name="pause", version="3.10"),),
)

INPUTS: dict[str, Any] = {
    "files": {"/var/lib/kubelet/kubelet-config.yaml": "maxPods: 110\n", "/var/lib/kubelet/watched.yaml": ""},
    "modes": {"/var/lib/kubelet/kubelet-config.yaml": "0600 root:root"},
    "credentials": {"/var/lib/kubelet/kubelet.crt": "SHA256:aa"},
    "binaries": {"/usr/local/bin/kubelet": "v1.36.3 SHA256:bb"},
    "images": {"pause": "3.10 SHA256:cc"},
}


def changed(kind: str, path: str, value: str | None) -> dict[str, Any]:
    """The inputs with one thing changed, added or taken away."""
    of_kind = {other: text for other, text in INPUTS[kind].items() if other != path}
    return INPUTS | {kind: of_kind if value is None else of_kind | {path: value}}


SENTENCES = {
    "a file": (
        changed("files", "/var/lib/kubelet/kubelet-config.yaml", "maxPods: 50\n"),
        "kubelet on node-1 will restart: kubelet-config.yaml",
    ),
    "a mode": (
        changed("modes", "/var/lib/kubelet/kubelet-config.yaml", "0640 root:root"),
        "kubelet on node-1 will restart: kubelet-config.yaml",
    ),
    "a certificate": (
        changed("credentials", "/var/lib/kubelet/kubelet.crt", "SHA256:dd"),
        "kubelet on node-1 will restart: kubelet.crt",
    ),
    "a binary": (
        changed("binaries", "/usr/local/bin/kubelet", "v1.35.4 SHA256:ee"),
        "kubelet on node-1 will restart: kubelet",
    ),
    "a file more": (changed("files", "/etc/more.yaml", "a"), "kubelet on node-1 will restart: more.yaml"),
    "a file less": (
        changed("files", "/var/lib/kubelet/kubelet-config.yaml", None),
        "kubelet on node-1 will restart: kubelet-config.yaml",
    ),
    "a watched file": (
        changed("files", "/var/lib/kubelet/watched.yaml", "a"),
        "kubelet on node-1 will change, and nothing restarts: watched.yaml",
    ),
    "an image": (
        changed("images", "pause", "3.11 SHA256:ff"),
        "kubelet on node-1 will change, and nothing restarts: pause",
    ),
}


@pytest.mark.parametrize("what", SENTENCES)
def test_a_change_is_said_with_service_node_effect_and_cause(what: str) -> None:
    new, expected = SENTENCES[what]
    assert describe_change("node-1", KUBELET, INPUTS, new) == expected


def test_nothing_is_said_of_no_change() -> None:
    assert describe_change("node-1", KUBELET, INPUTS, dict(INPUTS)) == ""


def test_what_changed_in_two_ways_is_named_once() -> None:
    path = "/var/lib/kubelet/kubelet-config.yaml"
    new = changed("files", path, "maxPods: 50\n") | {"modes": {path: "0640 root:root"}}
    assert describe_change("node-1", KUBELET, INPUTS, new) == "kubelet on node-1 will restart: kubelet-config.yaml"


def test_a_restart_outweighs_what_needs_none() -> None:
    path = "/var/lib/kubelet/kubelet-config.yaml"
    new = changed("files", path, "maxPods: 50\n") | {"images": {"pause": "3.11 SHA256:ff"}}
    assert describe_change("node-1", KUBELET, INPUTS, new).startswith("kubelet on node-1 will restart: ")


def test_what_is_reloaded_is_not_called_a_restart() -> None:
    service = Service(
        name="node-setup",
        unit="node-setup.service",
        activation="reload",
        files={"/etc/kubernetes/pod-routes": File(content="")},
    )
    old, new = ({"files": {"/etc/kubernetes/pod-routes": text}} for text in ("", "10.200.2.0/24 10.240.0.22\n"))
    said = describe_change("server", service, old, new)
    assert said == "node-setup on server will be reloaded, and nothing restarts: pod-routes"


def test_a_kind_that_was_not_there_before_is_compared_with_nothing() -> None:
    old = {kind: value for kind, value in INPUTS.items() if kind != "credentials"}
    assert describe_change("node-1", KUBELET, old, INPUTS) == "kubelet on node-1 will restart: kubelet.crt"
