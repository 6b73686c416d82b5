"""Manifests and config hashes: what makes two services the same, and what a restart is needed for."""

from dataclasses import replace
from typing import Any

import pytest

from lab.node.service import (
    Binary,
    Credential,
    File,
    Image,
    Part,
    Service,
    config_hash,
    contents,
    digest,
    manifest,
    overlay,
    to_yaml,
)
from lab.versions import image_reference

KEY = Credential(identity="agent", part=Part.KEY)
PROGRAM = Binary(name="agent", version="v1")
PAUSE = Image(name="pause", version="3")
SERVICE = Service(
    name="agent",
    unit="agent.service",
    files={
        "/etc/agent.yaml": File(content="a: 1\n"),
        "/etc/agent.key": File(content=KEY),
        "/etc/watched.yaml": File(content="b: 1\n", mode=0o644, restarts=False),
    },
    binaries={"/usr/local/bin/agent": PROGRAM},
    images=(PAUSE,),
)


def listing(service: Service, *, key: str = "one key", digests: dict[str, str] | None = None) -> str:
    table = {"agent": "d1", "pause": "d2"} | (digests or {})
    return manifest(service, lambda _: key, lambda thing: table[thing.name])


def with_file(path: str, file: File | None) -> Service:
    files = {other: content for other, content in SERVICE.files.items() if other != path}
    return replace(SERVICE, files=files if file is None else {**files, path: file})


RESTARTING = {
    "a file's text": listing(with_file("/etc/agent.yaml", File(content="a: 2\n"))),
    "a file's mode": listing(with_file("/etc/agent.yaml", File(content="a: 1\n", mode=0o640))),
    "a file's owner": listing(with_file("/etc/agent.yaml", File(content="a: 1\n", owner="root:agent"))),
    "a file removed": listing(with_file("/etc/agent.yaml", None)),
    "a file added": listing(with_file("/etc/more.yaml", File(content=""))),
    "a credential": listing(SERVICE, key="another key"),
    "a binary": listing(SERVICE, digests={"agent": "d3"}),
    "a binary's place": listing(replace(SERVICE, binaries={"/bin/agent": PROGRAM})),
}

KEEPING = {
    "a watched file's text": listing(
        with_file("/etc/watched.yaml", File(content="b: 2\n", mode=0o644, restarts=False))
    ),
    "a watched file removed": listing(with_file("/etc/watched.yaml", None)),
    "an image": listing(SERVICE, digests={"pause": "d4"}),
    "an image removed": listing(replace(SERVICE, images=())),
}


@pytest.mark.parametrize("what", RESTARTING)
def test_what_a_service_reads_is_in_its_config_hash(what: str) -> None:
    assert config_hash(RESTARTING[what]) != config_hash(listing(SERVICE))


@pytest.mark.parametrize("what", KEEPING)
def test_what_needs_no_restart_is_in_the_manifest_alone(what: str) -> None:
    assert KEEPING[what] != listing(SERVICE)
    assert config_hash(KEEPING[what]) == config_hash(listing(SERVICE))


def test_equal_services_have_equal_manifests_whatever_their_order() -> None:
    turned = replace(SERVICE, files=dict(reversed([*SERVICE.files.items()])))
    assert [*turned.files] != [*SERVICE.files]
    assert listing(turned) == listing(SERVICE)


@pytest.mark.parametrize(
    "other",
    [
        replace(SERVICE, health="true # asked otherwise"),
        replace(SERVICE, check="true # asked otherwise"),
        replace(SERVICE, needs=("another",)),
    ],
    ids=["health", "check", "needs"],
)
def test_how_a_service_is_asked_for_its_health_is_no_part_of_what_it_is(other: Service) -> None:
    assert listing(other) == listing(SERVICE)


def test_each_line_of_a_manifest_says_one_thing() -> None:
    lines = [line.split("\t") for line in listing(SERVICE).splitlines()]
    assert lines == sorted(
        [
            ["file", "restart", "0600", "root:root", digest("a: 1\n"), "/etc/agent.yaml"],
            ["file", "restart", "0600", "root:root", digest("one key"), "/etc/agent.key"],
            ["file", "keep", "0644", "root:root", digest("b: 1\n"), "/etc/watched.yaml"],
            ["binary", "restart", "0755", "root:root", "d1", "/usr/local/bin/agent"],
            ["image", "keep", "-", "-", "d2", image_reference("pause")],
        ]
    )


def test_a_manifest_holds_no_credential_but_its_digest() -> None:
    assert "one key" not in listing(SERVICE)
    assert digest("one key") in listing(SERVICE)


def test_contents_have_the_credentials_filled_in() -> None:
    assert contents(SERVICE, lambda _: "one key") == {
        "/etc/agent.yaml": "a: 1\n",
        "/etc/agent.key": "one key",
        "/etc/watched.yaml": "b: 1\n",
    }


def test_a_preview_shows_no_file_that_holds_a_credential() -> None:
    assert SERVICE.visible_files.keys() == {"/etc/agent.yaml", "/etc/watched.yaml"}
    assert SERVICE.credential_files == {"/etc/agent.key": KEY}


Fields = dict[str, Any]

OVERLAYS: dict[str, tuple[Fields, Fields, Fields]] = {
    "nothing": ({"a": 1}, {}, {"a": 1}),
    "a new key": ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "a value": ({"a": 1}, {"a": 2}, {"a": 2}),
    "a key deeper": ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
    "null for a key": ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    "null for a mapping": ({"a": {"b": 1}}, {"a": None}, {}),
    "null for a key deeper": ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
    "null for what is not there": ({"a": 1}, {"b": None}, {"a": 1}),
    "null in what is not there": ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    "a mapping for a value": ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    "a value for a mapping": ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
    "a list, which replaces": ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    "false, which is no null": ({"a": True}, {"a": False}, {"a": False}),
}


@pytest.mark.parametrize("what", OVERLAYS)
def test_an_overlay_merges_mappings_and_replaces_all_else(what: str) -> None:
    base, over, expected = OVERLAYS[what]
    assert overlay(base, over) == expected


def test_an_overlay_leaves_what_it_is_made_from_as_it_is() -> None:
    base, over = {"a": {"b": 1}}, {"a": {"c": 2}}
    overlay(base, over)["a"]["d"] = 3
    assert (base, over) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_an_overlay_keeps_the_order_of_its_base_and_sorts_what_is_new() -> None:
    base = {"kind": 1, "address": 2}
    assert [*overlay(base, {"z": 1, "b": 1, "address": 3})] == ["kind", "address", "b", "z"]


@pytest.mark.parametrize(
    "text", ["y", "N", "08", "0o17", "1e3", "1_0e3", "-5E-1", ".5", "0x1F", "true", "12", "null", ""]
)
def test_text_that_a_go_program_would_take_for_something_else_is_quoted(text: str) -> None:
    assert to_yaml({"value": text}) == f"value: '{text}'\n"


@pytest.mark.parametrize("text", ["10.240.0.10", "yes-man", "v1.36.3", "100m", "64Mi", "5m0s", "e3", "1e3x"])
def test_other_text_is_written_as_it_is(text: str) -> None:
    assert to_yaml({"value": text}) == f"value: {text}\n"
