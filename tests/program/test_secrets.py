"""Places where private keys may and may not be."""

import json

from tests.support.credential_places import BETWEEN_CERTIFICATES, TO_A_MACHINE, flattened, lines
from tests.support.payload import files
from tests.support.recording import ACCESS, HIDDEN, Program, Resource


def prepared(program: Program) -> list[Resource]:
    """Return the commands that send the programs to the nodes."""
    return [command for command in program.commands if command.name.endswith("-prepared")]


def test_inputs_hide_private_keys(program: Program) -> None:
    assert program.private
    for resource in program:
        shown = json.dumps(resource.shown)
        assert not [key for key in program.private for line in lines(key) if line in shown], resource


def test_programs_of_nodes_hold_no_private_key(program: Program) -> None:
    for command in prepared(program):
        contents = json.dumps(files(command.inputs["stdin"]))
        assert not [key for key in program.private for line in lines(key) if line in contents], command


def test_preview_does_not_show_the_programs_of_nodes(program: Program) -> None:
    assert {command.shown["stdin"] for command in prepared(program)} == {HIDDEN}


def test_outputs_hide_private_keys(program: Program) -> None:
    shown = json.dumps(program.shown_outputs)
    assert not [key for key in program.private for line in lines(key) if line in shown]


def test_keys_travel_only_by_allowed_inputs(program: Program) -> None:
    for resource in program:
        places = {
            place
            for place, value in flattened(resource.inputs)
            if any(line in value for key in program.private for line in lines(key))
        }
        assert places <= TO_A_MACHINE | (BETWEEN_CERTIFICATES if resource.type.startswith("tls:") else set()), resource


def test_command_text_has_no_secret(program: Program) -> None:
    for command in program.commands:
        assert isinstance(command.shown["create"], str)
        assert HIDDEN not in (command.shown["create"], command.shown.get("delete"))


def test_service_shows_only_fingerprints_of_credentials(program: Program) -> None:
    services = program.of_type("hardway:service:NodeService")
    assert services
    for service in services:
        assert service.shown == service.inputs, "a preview cannot show secrets"
        assert "-----BEGIN" not in json.dumps(service.shown)
        for fingerprint in service.shown.get("credentials", {}).values():
            assert fingerprint.startswith("SHA256:")


def test_service_payload_is_secret(program: Program) -> None:
    kubelet = program.command("node-0-kubelet")
    assert kubelet.shown["stdin"] == HIDDEN
    assert files(kubelet.inputs["stdin"])["root/var/lib/kubelet/kubelet.key"] in program.private


def test_workers_get_no_authority_key(program: Program) -> None:
    authorities = [
        program.by_identity[f"tls:index/selfSignedCert:SelfSignedCert {name}-ca"].inputs["privateKeyPem"]
        for name in ("kubernetes", "etcd")
    ]
    for command in program.commands:
        if command.name.startswith("node-") and command.type == "command:remote:Command":
            sent = "".join(files(command.inputs["stdin"]).values()) if "stdin" in command.inputs else ""
            assert not [key for key in authorities if key in sent], command


def test_push_login_is_secret(program: Program) -> None:
    assert program.pushes
    for push in program.pushes:
        assert push.shown["stdin"] == HIDDEN


def test_access_input_is_secret(program: Program) -> None:
    assert program.by_identity[ACCESS].shown["stdin"] == HIDDEN
