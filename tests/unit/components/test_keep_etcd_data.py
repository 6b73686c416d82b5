"""Saving and restoring the data of a single etcd, with a fake ssh client."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from components import keep_etcd_data
from host.workspace import Workspace
from tests.support.fake_programs import put

LOGIN: dict[str, Any] = {"address": "10.240.0.10", "key": "key", "host_key": "host key", "user": "root", "port": 22}
SNAPSHOT = b"data" + hashlib.sha256(b"data").digest()
"""A snapshot ends with the SHA-256 of everything before it."""


class Place:
    """A checkout and a node that a fake ssh client reaches.

    Attributes:
        snapshots: The folder of the snapshots of etcd on this machine.
        programs: The folder of the fake client.
        login: The login of the node.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.snapshots = Workspace(folder).etcd_snapshots("dev")
        self.programs = folder / "programs"
        self.programs.mkdir()
        self._monkeypatch = monkeypatch
        monkeypatch.setenv("PATH", f"{self.programs}:/usr/bin:/bin")
        monkeypatch.setenv("HARDWAY_NODE", "server")
        monkeypatch.setenv("HARDWAY_STACK", "dev")
        monkeypatch.setattr(keep_etcd_data, "CHECKOUT", folder)
        self.login = dict(LOGIN)
        (folder / "snapshot").write_bytes(SNAPSHOT)
        self.node(f"cat {folder}/snapshot")

    def node(self, script: str) -> None:
        """Let every command on the node run a script."""
        put(self.programs, "ssh", script)

    def run(self, verb: str) -> int:
        """Run the program."""
        self._monkeypatch.setattr("sys.argv", ["keep_etcd_data", verb])
        self._monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(self.login)))
        return keep_etcd_data.main()

    @property
    def kept(self) -> str:
        """The name of the saved snapshot."""
        return f"recreated-{hashlib.sha256(str(LOGIN['host_key']).encode()).hexdigest()[:12]}.db"

    def files(self) -> dict[str, bytes]:
        """Return the snapshots by name."""
        return {path.name: path.read_bytes() for path in self.snapshots.glob("*")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose etcd has data."""
    return Place(tmp_path, monkeypatch)


def test_data_is_saved_and_sent(place: Place) -> None:
    assert place.run("save") == 0
    assert place.files() == {place.kept: SNAPSHOT}
    assert (place.snapshots / place.kept).stat().st_mode & 0o777 == 0o600
    place.node(f"cat >{place.programs}/sent")
    assert place.run("restore") == 0
    assert (place.programs / "sent").read_bytes() == SNAPSHOT


def test_nothing_is_sent_without_a_snapshot(place: Place) -> None:
    place.node("exit 1")
    assert place.run("restore") == 0


@pytest.mark.parametrize("answer", ["echo half; echo 'No space is left.' >&2; exit 1", "echo half"])
def test_failed_snapshot_keeps_the_vm(place: Place, capsys: pytest.CaptureFixture[str], answer: str) -> None:
    place.node(answer)
    assert place.run("save") == 1
    assert place.files() == {}
    error = capsys.readouterr().err
    reason = "No space is left." if "exit 1" in answer else "the snapshot is incomplete"
    assert f"the data of etcd on server could not be kept, so its VM was not recreated: {reason}" in error
    assert "HARDWAY_LOSE_DATA=yes hardway up" in error


def test_interrupted_recreation_continues_with_the_saved_data(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("save") == 0
    place.node("echo 'No route to host' >&2; exit 255")
    assert place.run("save") == 0
    assert place.files() == {place.kept: SNAPSHOT}
    assert "No route to host" in capsys.readouterr().err


def test_data_of_another_lab_is_not_restored(place: Place) -> None:
    assert place.run("save") == 0
    place.login["host_key"] = "another"
    place.node("exit 1")
    assert place.run("restore") == 0


def test_lost_data_is_not_restored(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.run("save") == 0
    monkeypatch.setenv("HARDWAY_LOSE_DATA", "yes")
    place.node("exit 1")
    assert place.run("save") == 0
    assert place.run("restore") == 0
    assert place.files() == {place.kept.replace("recreated", "unused"): SNAPSHOT}


def test_deleted_lab_leaves_no_data(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.run("save") == 0
    monkeypatch.setenv("HARDWAY_DESTROYS", "yes")
    place.node("exit 1")
    assert place.run("save") == 0
    assert not place.snapshots.exists()


def test_data_that_did_not_arrive_is_sent_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("save") == 0
    place.node("echo 'Connection lost' >&2; exit 255")
    assert place.run("restore") == 1
    assert "server did not get the data of etcd: Connection lost" in capsys.readouterr().err
    assert place.files() == {place.kept: SNAPSHOT}
