"""Manifests and config hashes: when two services are equal, and which changes need a restart."""

from dataclasses import replace

import pytest

from lab.node.service import (
    Binary,
    Composition,
    Credential,
    File,
    Image,
    Part,
    Service,
    config_hash,
    contents,
    digest,
    manifest,
)
from lab.versions import image_reference

KEY = Credential(identity="agent", part=Part.KEY)
CERTIFICATE = Credential(identity="agent", part=Part.CERTIFICATE)
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
    return manifest(service, lambda _: key, lambda artifact: table[artifact.name])


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
    "a binary's path": listing(replace(SERVICE, binaries={"/bin/agent": PROGRAM})),
}

KEEPING = {
    "a watched file's text": listing(
        with_file("/etc/watched.yaml", File(content="b: 2\n", mode=0o644, restarts=False))
    ),
    "a watched file removed": listing(with_file("/etc/watched.yaml", None)),
    "an image": listing(SERVICE, digests={"pause": "d4"}),
    "an image removed": listing(replace(SERVICE, images=())),
}


@pytest.mark.parametrize("change", RESTARTING)
def test_files_and_binaries_change_the_config_hash(change: str) -> None:
    assert config_hash(RESTARTING[change]) != config_hash(listing(SERVICE))


@pytest.mark.parametrize("change", KEEPING)
def test_other_changes_keep_the_config_hash(change: str) -> None:
    assert KEEPING[change] != listing(SERVICE)
    assert config_hash(KEEPING[change]) == config_hash(listing(SERVICE))


def test_file_order_does_not_change_a_manifest() -> None:
    reordered = replace(SERVICE, files=dict(reversed([*SERVICE.files.items()])))
    assert [*reordered.files] != [*SERVICE.files]
    assert listing(reordered) == listing(SERVICE)


@pytest.mark.parametrize(
    "other",
    [
        replace(SERVICE, health="true # another one"),
        replace(SERVICE, check="true # another one"),
        replace(SERVICE, needs=("another",)),
    ],
    ids=["health", "check", "needs"],
)
def test_checks_and_needs_are_not_in_the_manifest(other: Service) -> None:
    assert listing(other) == listing(SERVICE)


def test_a_manifest_has_one_line_per_artifact() -> None:
    lines = [line.split("\t") for line in listing(SERVICE).splitlines()]
    assert lines == sorted(
        [
            ["file", "restart", "0600", "root:root", digest("a: 1\n"), "/etc/agent.yaml"],
            ["file", "restart", "0600", "root:root", digest("one key"), "/etc/agent.key"],
            ["file", "keep", "0644", "root:root", digest("b: 1\n"), "/etc/watched.yaml"],
            ["binary", "restart", "0755", "root:root", "d1", "/usr/local/bin/agent"],
            ["image", "keep", "-", "-", "d2", image_reference("pause", "3")],
        ]
    )


def test_a_manifest_holds_only_digests_of_credentials() -> None:
    assert "one key" not in listing(SERVICE)
    assert digest("one key") in listing(SERVICE)


def test_contents_include_credentials() -> None:
    assert contents(SERVICE, lambda _: "one key") == {
        "/etc/agent.yaml": "a: 1\n",
        "/etc/agent.key": "one key",
        "/etc/watched.yaml": "b: 1\n",
    }


def test_visible_files_hold_no_credential() -> None:
    assert SERVICE.visible_files.keys() == {"/etc/agent.yaml", "/etc/watched.yaml"}
    assert SERVICE.credential_files == {"/etc/agent.key": KEY}


def composed() -> Service:
    return with_file("/etc/agent.pem", File(content=Composition(parts=(CERTIFICATE, " and ", KEY))))


def test_a_composition_holds_credentials_between_texts() -> None:
    texts = contents(composed(), lambda credential: str(credential.part))
    assert texts["/etc/agent.pem"] == "certificate and key"


def test_a_composition_restarts_like_any_file() -> None:
    assert config_hash(listing(composed(), key="one")) != config_hash(listing(composed(), key="another"))
    assert "one key and one key" not in listing(composed())


def test_credentials_include_those_of_compositions() -> None:
    assert set(composed().credentials) == {KEY, CERTIFICATE}
    assert composed().visible_files.keys() == SERVICE.visible_files.keys()
