"""Descriptions of a change in a preview."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pulumi
import pytest

from components.preview import (
    CONFIG_HASH,
    STATE_FILES,
    DisruptionError,
    RestartAnnouncement,
    ServiceChange,
    describe_change,
    service_change,
)
from lab.disruption import Disruption
from lab.node.service import Binary, Credential, File, Image, Part, Service

CONFIGURATION, WATCHED = "/var/lib/kubelet/kubelet-config.yaml", "/var/lib/kubelet/watched.yaml"
CERTIFICATE, PROGRAM = "/var/lib/kubelet/kubelet.crt", "/usr/local/bin/kubelet"

KUBELET = Service(
    name="kubelet",
    unit="kubelet.service",
    files={
        CONFIGURATION: File(content="maxPods: 110\n"),
        CERTIFICATE: File(content=Credential(identity="kubelet-node-1", part=Part.CERTIFICATE)),
        WATCHED: File(content="", restarts=False),
    },
    binaries={PROGRAM: Binary(name="kubelet", version="v1.37.2")},
    images=(Image(name="pause", version="3.10"),),
)

INPUTS: dict[str, Any] = {
    "files": {CONFIGURATION: "maxPods: 110\n", WATCHED: ""},
    "modes": {CONFIGURATION: "0600 root:root"},
    "credentials": {CERTIFICATE: "SHA256:aa"},
    "binaries": {PROGRAM: "v1.37.2 SHA256:bb"},
    "images": {"pause": "3.10 SHA256:cc"},
    "settings": {"repair": ""},
}
"""Inputs of a stack that the version before made: without a config hash."""

OLD = INPUTS | {CONFIG_HASH: "old"}


def changed(kind: str, path: str, value: str | None) -> dict[str, Any]:
    """Return the inputs with one entry changed, added or removed."""
    others = {other: text for other, text in INPUTS[kind].items() if other != path}
    return INPUTS | {kind: others if value is None else others | {path: value}}


RESTARTS = {
    "changed file": (changed("files", CONFIGURATION, "maxPods: 50\n"), "kubelet-config.yaml"),
    "changed mode": (changed("modes", CONFIGURATION, "0640 root:root"), "kubelet-config.yaml"),
    "changed certificate": (changed("credentials", CERTIFICATE, "SHA256:dd"), "kubelet.crt"),
    "changed binary": (changed("binaries", PROGRAM, "v1.37.3 SHA256:ee"), "kubelet"),
    "added file": (changed("files", "/etc/more.yaml", "a"), "more.yaml"),
    "removed file": (changed("files", CONFIGURATION, None), "kubelet-config.yaml"),
}
OTHERS = {
    "watched file": (changed("files", WATCHED, "a"), "watched.yaml"),
    "image": (changed("images", "pause", "3.11 SHA256:ff"), "pause"),
}


@pytest.mark.parametrize("change", RESTARTS)
def test_description_names_service_node_effect_and_reason(change: str) -> None:
    new, name = RESTARTS[change]
    assert (
        describe_change("node-1", KUBELET, OLD, new | {CONFIG_HASH: "new"}) == f"kubelet on node-1 will restart: {name}"
    )


@pytest.mark.parametrize("change", OTHERS)
def test_equal_config_hash_is_no_restart(change: str) -> None:
    new, name = OTHERS[change]
    expected = f"kubelet on node-1 will change, and nothing restarts: {name}"
    assert describe_change("node-1", KUBELET, OLD, new | {CONFIG_HASH: "old"}) == expected


def test_removed_file_without_restart_is_not_announced_as_one() -> None:
    without = Service(name="kubelet", unit="kubelet.service", files={CONFIGURATION: KUBELET.files[CONFIGURATION]})
    new = changed("files", WATCHED, None) | {CONFIG_HASH: "old"}
    expected = "kubelet on node-1 will change, and nothing restarts: watched.yaml"
    assert describe_change("node-1", without, OLD, new) == expected


UNKNOWN_HASHES = pytest.mark.parametrize(
    "unknown",
    [{}, {CONFIG_HASH: pulumi.output.UNKNOWN}, {CONFIG_HASH: pulumi.runtime.rpc.UNKNOWN}],
    ids=["absent", "an object", "a text"],
)


@UNKNOWN_HASHES
def test_unknown_certificate_is_a_restart(unknown: dict[str, Any]) -> None:
    new = {**changed("credentials", CERTIFICATE, None), **unknown}
    assert describe_change("node-1", KUBELET, OLD, new) == "kubelet on node-1 will restart: kubelet.crt"


@UNKNOWN_HASHES
def test_unknown_certificate_that_the_service_rereads_is_no_restart(unknown: dict[str, Any]) -> None:
    rereads = File(content=KUBELET.files[CERTIFICATE].content, restarts=False)
    service = replace(KUBELET, files={**KUBELET.files, CERTIFICATE: rereads})
    new = {**changed("credentials", CERTIFICATE, None), **unknown}
    expected = "kubelet on node-1 will change, and nothing restarts: kubelet.crt"
    assert describe_change("node-1", service, OLD, new) == expected


@pytest.mark.parametrize("change", RESTARTS)
def test_without_old_config_hash_inputs_decide_restart(change: str) -> None:
    new, name = RESTARTS[change]
    expected = f"kubelet on node-1 will restart: {name}"
    assert describe_change("node-1", KUBELET, INPUTS, new | {CONFIG_HASH: "new"}) == expected


@pytest.mark.parametrize("change", OTHERS)
def test_without_old_config_hash_inputs_decide_no_restart(change: str) -> None:
    new, name = OTHERS[change]
    expected = f"kubelet on node-1 will change, and nothing restarts: {name}"
    assert describe_change("node-1", KUBELET, INPUTS, new | {CONFIG_HASH: "new"}) == expected


def test_no_change_has_no_description() -> None:
    assert describe_change("node-1", KUBELET, OLD, dict(OLD)) == ""


def test_first_config_hash_has_no_description() -> None:
    assert describe_change("node-1", KUBELET, INPUTS, OLD) == ""


def test_file_with_two_changes_is_named_once() -> None:
    new = changed("files", CONFIGURATION, "maxPods: 50\n") | {"modes": {CONFIGURATION: "0640 root:root"}}
    expected = "kubelet on node-1 will restart: kubelet-config.yaml"
    assert describe_change("node-1", KUBELET, OLD, new | {CONFIG_HASH: "new"}) == expected
    assert describe_change("node-1", KUBELET, INPUTS, new) == expected


def test_restart_outweighs_other_changes() -> None:
    new = changed("files", CONFIGURATION, "maxPods: 50\n") | {"images": {"pause": "3.11 SHA256:ff"}}
    for old in (OLD, INPUTS):
        description = describe_change("node-1", KUBELET, old, new | {CONFIG_HASH: "new"})
        assert description.startswith("kubelet on node-1 will restart: ")


def test_repair_restarts_only_if_needed() -> None:
    new = changed("settings", "repair", "1") | {CONFIG_HASH: "old"}
    effect = "will be repaired, and restarts if a file that it reads at startup differs on the node"
    assert describe_change("node-1", KUBELET, OLD, new) == f"kubelet on node-1 {effect}: repair"


def test_reload_is_not_a_restart() -> None:
    service = Service(
        name="node-setup",
        unit="node-setup.service",
        activation="reload",
        files={"/etc/kubernetes/pod-routes": File(content="")},
    )
    old, new = (
        {"files": {"/etc/kubernetes/pod-routes": text}, CONFIG_HASH: text}
        for text in ("", "10.200.2.0/24 10.240.0.22\n")
    )
    description = describe_change("server", service, old, new)
    assert description == "node-setup on server will be reloaded, and nothing restarts: pod-routes"


def test_new_kind_of_input_counts_as_added() -> None:
    old = {kind: value for kind, value in INPUTS.items() if kind != "credentials"}
    assert describe_change("node-1", KUBELET, old, INPUTS) == "kubelet on node-1 will restart: kubelet.crt"


def test_unknown_cluster_announces_a_possible_restart() -> None:
    old = OLD | {"settings": {"repair": "", "cluster": "a"}}
    new = OLD | {"settings": {"repair": "", "cluster": pulumi.runtime.rpc.UNKNOWN}}
    expected = "kubelet on node-1 will restart if the control plane returns without its data: cluster"
    assert describe_change("node-1", KUBELET, old, new) == expected


def test_first_record_of_the_cluster_is_no_restart() -> None:
    new = OLD | {"settings": {"repair": "", "cluster": "a"}}
    expected = "kubelet on node-1 will change, and nothing restarts: cluster"
    assert describe_change("node-1", KUBELET, OLD, new) == expected


def test_another_minor_version_announces_a_drain() -> None:
    new = changed("binaries", PROGRAM, "v1.36.3 SHA256:ee") | {CONFIG_HASH: "new"}
    expected = "kubelet on node-1 will restart after the node is drained: kubelet"
    assert describe_change("node-1", KUBELET, OLD, new) == expected


def test_a_new_effect_of_a_file_is_a_restart() -> None:
    assert describe_change("node-1", KUBELET, OLD, OLD | {CONFIG_HASH: "new"}) == (
        "kubelet on node-1 will restart: configHash"
    )


RELOADED = replace(KUBELET, activation="reload")
READ_BY_OTHERS = replace(KUBELET, unit=None)
CHANGED_FILE = changed("files", CONFIGURATION, "maxPods: 50\n") | {CONFIG_HASH: "new"}
NEW_CLUSTER = OLD | {"settings": {"repair": "", "cluster": pulumi.runtime.rpc.UNKNOWN}}

LEVELS: dict[str, tuple[Service, dict[str, Any], Disruption]] = {
    "image": (KUBELET, OTHERS["image"][0] | {CONFIG_HASH: "old"}, Disruption.NONE),
    "file of others": (READ_BY_OTHERS, CHANGED_FILE, Disruption.NONE),
    "file that is reloaded": (RELOADED, CHANGED_FILE, Disruption.RELOAD),
    "file": (KUBELET, CHANGED_FILE, Disruption.RESTART),
    "patch version": (KUBELET, RESTARTS["changed binary"][0] | {CONFIG_HASH: "new"}, Disruption.RESTART),
    "repair": (KUBELET, changed("settings", "repair", "1") | {CONFIG_HASH: "old"}, Disruption.RESTART),
    "perhaps another cluster": (KUBELET, NEW_CLUSTER, Disruption.RESTART),
    "minor version": (
        KUBELET,
        changed("binaries", PROGRAM, "v1.36.3 SHA256:ee") | {CONFIG_HASH: "new"},
        Disruption.DRAIN,
    ),
}


@pytest.mark.parametrize("name", LEVELS)
def test_level_of_a_change(name: str) -> None:
    service, new, expected = LEVELS[name]
    old = OLD | {"settings": {"repair": "", "cluster": "a"}} if "cluster" in new["settings"] else OLD
    change = service_change(service, old, new)
    assert isinstance(change, ServiceChange)
    assert change.disruption is expected


def test_no_change_has_no_level() -> None:
    assert service_change(KUBELET, OLD, dict(OLD)) is None


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The functions of the hooks that the program registers, by name."""
    registered: dict[str, Any] = {}

    def register(name: str, callback: Any, _: Any) -> str:
        registered[name] = callback
        return name

    monkeypatch.setattr(pulumi, "ResourceHook", register)
    monkeypatch.setattr(pulumi, "ResourceHookBinding", lambda **kinds: kinds)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    monkeypatch.setattr(pulumi.log, "info", lambda text: registered.setdefault("messages", []).append(text))
    return registered


def args(name: str, old: dict[str, Any] | None = None, new: dict[str, Any] | None = None) -> Any:
    """Return the arguments of a hook."""
    return SimpleNamespace(name=name, old_inputs=old, new_inputs=new)


def test_a_preview_refuses_a_service_beyond_the_limit(hooks: dict[str, Any]) -> None:
    RestartAnnouncement(Disruption.RELOAD).hooks("node-1-kubelet", "node-1", KUBELET, drains=True)
    expected = "hardway:maxDisruption allows at most reload, but kubelet on node-1 will restart: kubelet-config.yaml"
    with pytest.raises(DisruptionError) as error:
        hooks["announce"](args("node-1-kubelet", OLD, CHANGED_FILE))
    assert str(error.value) == expected


@pytest.mark.parametrize("limit", [None, Disruption.RESTART, Disruption.RECREATE])
def test_a_preview_announces_a_service_within_the_limit(limit: Disruption | None, hooks: dict[str, Any]) -> None:
    RestartAnnouncement(limit).hooks("node-1-kubelet", "node-1", KUBELET, drains=True)
    hooks["announce"](args("node-1-kubelet", OLD, CHANGED_FILE))
    assert hooks["messages"] == ["kubelet on node-1 will restart: kubelet-config.yaml"]


def test_a_preview_refuses_a_new_vm_beyond_the_limit(hooks: dict[str, Any]) -> None:
    bound: Any = RestartAnnouncement(Disruption.REBOOT).vm_hooks("node-1-domain", "node-1")
    assert bound == {"before_create": ["keep-vm"]}
    with pytest.raises(DisruptionError, match=r"at most reboot, but the VM of node-1 will be recreated$"):
        hooks["keep-vm"](args("node-1-domain"))


@pytest.mark.parametrize("limit", [None, Disruption.RECREATE])
def test_a_limit_that_allows_new_vms_needs_no_hook(limit: Disruption | None, hooks: dict[str, Any]) -> None:
    assert RestartAnnouncement(limit).vm_hooks("node-1-domain", "node-1") is None
    assert "keep-vm" not in hooks


def test_an_update_is_not_refused(hooks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    announcement = RestartAnnouncement(Disruption.NONE)
    announcement.hooks("node-1-kubelet", "node-1", KUBELET, drains=True)
    announcement.vm_hooks("node-1-domain", "node-1")
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    hooks["announce"](args("node-1-kubelet", OLD, CHANGED_FILE))
    hooks["keep-vm"](args("node-1-domain"))


def test_other_settings_of_state_files_announce_a_drain() -> None:
    written = {"/var/lib/kubelet/cpu_manager_state": "static"}
    new = changed("files", CONFIGURATION, "cpuManagerPolicy: static\n") | {STATE_FILES: written, CONFIG_HASH: "new"}
    expected = "kubelet on node-1 will restart after the node is drained: kubelet-config.yaml, cpu_manager_state"
    assert describe_change("node-1", KUBELET, OLD, new) == expected
    back = describe_change("node-1", KUBELET, new, OLD)
    assert back == expected
    assert "drained" not in describe_change("node-1", KUBELET, new, new | {CONFIG_HASH: "newer", "modes": {}})
    # A lab that joins a cluster without its administrator's kubeconfig cannot drain nodes.
    assert "drained" not in describe_change("node-1", KUBELET, OLD, new, drains=False)
