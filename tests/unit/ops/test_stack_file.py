"""Stack files read without a running lab."""

import json
from pathlib import Path

import pytest

from ops.clients import CommandError, Commands
from ops.stack_file import StackFileError, read_stack
from system.files import CHECKOUT
from tests.support.certificates import pair


class Engine(Commands):
    """An engine that decrypts a stack's configuration, or fails."""

    def __init__(self, answer: str | CommandError) -> None:
        self.answer = answer

    def configuration(self, stack: str) -> str:
        assert stack == "somebody/hardway/lab"
        if isinstance(self.answer, CommandError):
            raise self.answer
        return self.answer


def stack_file(folder: Path, text: str) -> None:
    (folder / "Pulumi.lab.yaml").write_text(text)


def test_values_have_no_namespace() -> None:
    configuration = read_stack("dev")
    assert configuration.values["workers"][0]["name"] == "node-0"
    assert [node.name for node in configuration.spec.workers] == ["node-0", "node-1"]


def test_missing_stack_lists_existing_ones(tmp_path: Path) -> None:
    stack_file(tmp_path, "config: {}")
    with pytest.raises(StackFileError, match=r"no stack file Pulumi\.other\.yaml\. Existing stacks: lab\."):
        read_stack("other", tmp_path)


@pytest.mark.parametrize("text", ["config: [", "config: 3", "- 1"])
def test_unreadable_file_is_an_error(tmp_path: Path, text: str) -> None:
    stack_file(tmp_path, text)
    with pytest.raises(StackFileError, match=r"Pulumi\.lab\.yaml cannot be read"):
        read_stack("lab", tmp_path)


def test_wrong_value_is_an_error(tmp_path: Path) -> None:
    stack_file(tmp_path, "config: {hardway:clusterDns: nowhere}")
    with pytest.raises(StackFileError, match="hardway:clusterDns"):
        read_stack("lab", tmp_path)


def test_encrypted_values_are_decrypted(tmp_path: Path) -> None:
    stack_file(tmp_path, "config: {hardway:join: {endpoint: 'https://10.0.0.1:6443', caKey: {secure: abc}}}")
    certificate, key = pair("kubernetes-ca")
    joined = {"endpoint": "https://10.0.0.1:6443", "caCertificate": certificate, "caKey": key}
    answer = {"hardway:join": {"value": json.dumps(joined), "objectValue": joined}, "other:key": {"value": "1"}}
    spec = read_stack("somebody/hardway/lab", tmp_path, Engine(json.dumps(answer))).spec
    assert spec.join
    assert spec.join.signer


def test_encrypted_values_need_the_engine(tmp_path: Path) -> None:
    stack_file(tmp_path, "config: {hardway:join: {caKey: {secure: abc}}}")
    with pytest.raises(StackFileError, match="cannot decrypt them: incorrect passphrase"):
        read_stack("somebody/hardway/lab", tmp_path, Engine(CommandError("incorrect passphrase")))


def test_every_stack_file_is_found() -> None:
    with pytest.raises(StackFileError, match="bootstrap, dev, ha, join, userdata"):
        read_stack("nothing", CHECKOUT)
