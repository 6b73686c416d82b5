"""Saving and restoring the data of a single etcd, with a fake ssh client."""

import io
import json
from pathlib import Path

import pytest

from components import keep_etcd_data
from host.workspace import Workspace
from tests.support.fake_programs import put

LOGIN = {"address": "10.240.0.10", "key": "key", "host_key": "host key", "user": "root", "port": 22}


class Place:
    """A checkout and a node that a fake ssh client reaches.

    Attributes:
        snapshots: The folder of the snapshots of etcd on this machine.
        programs: The folder of the fake client.
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
        self.node("echo data")

    def node(self, script: str) -> None:
        """Let every command on the node run a script."""
        put(self.programs, "ssh", script)

    def run(self, verb: str) -> int:
        """Run the program."""
        self._monkeypatch.setattr("sys.argv", ["keep_etcd_data", verb])
        self._monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(LOGIN)))
        return keep_etcd_data.main()

    def files(self) -> dict[str, str]:
        """Return the snapshots by name."""
        return {path.name: path.read_text() for path in self.snapshots.glob("*")}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose etcd has data."""
    return Place(tmp_path, monkeypatch)


def test_data_is_saved_and_then_sent_once(place: Place) -> None:
    assert place.run("save") == 0
    assert place.files() == {"recreated.db": "data\n"}
    assert (place.snapshots / "recreated.db").stat().st_mode & 0o777 == 0o600
    place.node(f"cat >{place.programs}/sent")
    assert place.run("restore") == 0
    assert (place.programs / "sent").read_text() == "data\n"
    assert place.files() == {"before-recreation.db": "data\n"}
    (place.programs / "sent").unlink()
    assert place.run("restore") == 0
    assert not (place.programs / "sent").exists()


def test_failed_snapshot_keeps_the_vm(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.node("echo half; echo 'No space is left.' >&2; exit 1")
    assert place.run("save") == 1
    assert place.files() == {}
    error = capsys.readouterr().err
    assert "the data of etcd on server could not be kept, so its VM was not recreated: No space is left." in error
    assert "HARDWAY_LOSE_DATA=yes hardway up" in error


@pytest.mark.parametrize("variable", ["HARDWAY_DESTROYS", "HARDWAY_LOSE_DATA"])
def test_unneeded_data_is_not_saved(place: Place, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "yes")
    place.node("exit 1")
    assert place.run("save") == 0
    assert place.files() == {}


def test_data_that_did_not_arrive_is_sent_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("save") == 0
    place.node("echo 'Connection lost' >&2; exit 255")
    assert place.run("restore") == 1
    assert "server did not get the data of etcd: Connection lost" in capsys.readouterr().err
    assert place.files() == {"recreated.db": "data\n"}
