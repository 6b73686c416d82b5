"""VMs and networks that somebody undefined are defined again to be deleted, with a fake virsh."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from host.libvirt.private import URI
from host.libvirt.undefined import define_again
from system.errors import HostError
from tests.support.fake_programs import put

DOMAIN, NETWORK = "libvirt:index/domain:Domain", "libvirt:index/network:Network"
REFERENCE = "urn::libvirt::id"
STATE: dict[str, Any] = {
    "resources": [
        {"urn": "urn::libvirt", "id": "id", "type": "pulumi:providers:libvirt", "inputs": {"uri": URI}},
        *(
            {"urn": uuid, "id": uuid, "type": type_, "provider": REFERENCE, "inputs": {"name": name}}
            for type_, name, uuid in ((DOMAIN, "vm-0", "1"), (DOMAIN, "a<b", "2"), (NETWORK, "lab", "3"))
        ),
        {"urn": "disk", "id": "x", "type": "libvirt:index/volume:Volume", "inputs": {"name": "disk", "pool": "lab"}},
    ]
}


@pytest.fixture
def virsh(tmp_path: Path) -> Path:
    """A virsh that lists the UUIDs in the files `list` and `net-list`, and keeps definitions in the file `defined`."""
    put(
        tmp_path,
        "virsh",
        'cd "${0%/*}"; [ "$1 $2" = "--connect qemu:///system" ] || exit 9\n'
        'case $3 in *list) case "$*" in *"--all --persistent --uuid") cat "$3" ;; *) exit 9 ;; esac ;;\n'
        '*) [ ! -e refuses ] || { echo "error: in use" >&2; exit 1; }\n'
        '{ echo "$3"; cat "$4"; echo; } >>defined ;; esac',
    )
    (tmp_path / "list").write_text("1\n9\n\n")
    (tmp_path / "net-list").write_text("3\n\n")
    return tmp_path / "virsh"


def test_existing_objects_are_left_alone(virsh: Path) -> None:
    (virsh.parent / "list").write_text("1\n2\n")
    assert define_again(STATE, virsh) == []
    assert define_again({}, virsh) == []
    assert not (virsh.parent / "defined").exists()


def test_undefined_objects_get_their_name_and_uuid_back(virsh: Path) -> None:
    (virsh.parent / "net-list").write_text("\n")
    assert define_again(STATE, virsh) == ["domain a<b", "network lab"]
    verb, domain, net_verb, network = (virsh.parent / "defined").read_text().splitlines()
    assert (verb, net_verb) == ("define", "net-define")
    described = [ElementTree.fromstring(text) for text in (domain, network)]
    assert [(each.tag, each.findtext("name"), each.findtext("uuid")) for each in described] == [
        ("domain", "a<b", "2"),
        ("network", "lab", "3"),
    ]


def test_libvirt_that_does_not_answer_is_left_to_the_engine(virsh: Path) -> None:
    for name in ("list", "net-list"):
        (virsh.parent / name).unlink()
    assert define_again(STATE, virsh) == []


def test_refused_definition_names_the_object_and_the_reason(virsh: Path) -> None:
    (virsh.parent / "refuses").touch()
    with pytest.raises(HostError, match=r"(?s)domain a<b was undefined, and cannot be defined.*in use"):
        define_again(STATE, virsh)
