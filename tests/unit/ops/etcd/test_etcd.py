"""Snapshots of etcd that `python3 -m ops.etcd` copies and lists, with fake nodes."""

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from host.access.ssh import Login
from ops.clients import CommandError, Commands
from ops.etcd.__main__ import main

ADDRESSES = {"control0": "10.0.0.10", "control1": "10.0.0.11", "node-0": "10.0.0.20"}
CONTENT = b"keys and values"
SNAPSHOT = CONTENT + hashlib.sha256(CONTENT).digest()
FOLDER = ".lab/stacks/dev/etcd"


class Lab(Commands):
    """A lab with two control planes. A test replaces what they answer, by an error if it should fail."""

    def __init__(self) -> None:
        self.snapshots: dict[str, bytes | CommandError] = dict.fromkeys(("control0", "control1"), SNAPSHOT)
        self.lists: dict[str, str | CommandError] = {"control0": "b.db 2097152\na.db 1048576\n", "control1": ""}
        self.role = "control-plane"

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack == "dev"
        return {
            "nodes": {
                name: {
                    "address": address,
                    "role": "worker" if name == "node-0" else self.role,
                    "kubernetesVersion": "v1",
                }
                | {"ssh": "ssh"}
                for name, address in ADDRESSES.items()
            },
            "apiEndpoint": "https://10.0.0.10:6443",
            "certificateAuthority": "certificate",
            "services": {},
            "sshKey": "private",
            "knownHosts": "".join(f"{address} ssh-ed25519 key\n" for address in ADDRESSES.values()),
        }

    def receive(self, login: Login, command: Sequence[str], file: IO[bytes]) -> None:
        assert command == ["/usr/local/lib/hardway/etcd-snapshot", "send"]
        answer = self.snapshots[_name(login)]
        if isinstance(answer, CommandError):
            raise answer
        file.write(answer)

    def run(self, login: Login, command: Sequence[str], **_: Any) -> str:
        assert command == ["/usr/local/lib/hardway/etcd-snapshot", "list"]
        answer = self.lists[_name(login)]
        if isinstance(answer, CommandError):
            raise answer
        return answer


def _name(login: Login) -> str:
    [name] = [name for name, address in ADDRESSES.items() if address == login.address]
    return name


def files(folder: Path) -> list[Path]:
    """Return the files of a folder."""
    return sorted(folder.iterdir()) if folder.exists() else []


def test_a_snapshot_is_copied_into_the_folder_of_the_stack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshot", "--stack", "dev"], Lab(), tmp_path) == 0
    [file] = files(tmp_path / FOLDER)
    assert capsys.readouterr().out == f"{file}\n"
    assert file.name.endswith("Z-control0.db")
    assert file.read_bytes() == SNAPSHOT
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_output_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine"
    file.write_text("old")
    assert main(["snapshot", "--output", str(file), "--json"], Lab(), tmp_path) == 0
    assert json.loads(capsys.readouterr().out) == {"stack": "dev", "node": "control0", "file": str(file)}
    assert files(tmp_path) == [file]
    assert file.read_bytes() == SNAPSHOT


def test_an_unusable_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshot", "--output", str(tmp_path)], Lab(), tmp_path) == 2
    assert f"{tmp_path} cannot be written: Is a directory" in capsys.readouterr().err
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (CommandError("etcd is not healthy: no leader", 1), "etcd is not healthy: no leader"),
        (CommandError("No such file or directory", 127), "run `hardway up` first"),
        (SNAPSHOT[:-1], "the snapshot is incomplete"),
        (b"", "the snapshot is incomplete"),
    ],
)
def test_another_control_plane_gives_the_snapshot(
    answer: bytes | CommandError, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab()
    lab.snapshots["control0"] = answer
    assert main(["snapshot"], lab, tmp_path) == 0
    [file] = files(tmp_path / FOLDER)
    assert file.name.endswith("-control1.db")
    assert f"control0 gave no snapshot: {problem}" in capsys.readouterr().err.replace(
        "it was set up by an older version; ", ""
    )
    lab.snapshots["control1"] = answer
    file.unlink()
    assert main(["snapshot"], lab, tmp_path) == 1
    assert files(tmp_path / FOLDER) == []


def test_list_shows_all_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["snapshot"], Lab(), tmp_path)
    [file] = files(tmp_path / FOLDER)
    capsys.readouterr()
    assert main(["list"], Lab(), tmp_path) == 0
    rows = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["PLACE", "SNAPSHOT", "SIZE"],
        [str(file.parent), file.name, "0.0 MiB"],
        ["control0", "b.db", "2.0 MiB"],
        ["control0", "a.db", "1.0 MiB"],
    ]


def test_list_names_silent_control_planes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    lab.lists["control1"] = CommandError("No route to host", 255)
    assert main(["list"], lab, tmp_path) == 1
    assert "control1 did not answer: No route to host" in capsys.readouterr().err
    assert main(["list", "--json"], lab, tmp_path) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["problems"] == [{"node": "control1", "problem": "No route to host"}]
    assert document["snapshots"][0] == {"node": "control0", "name": "b.db", "bytes": 2097152}


def test_a_lab_without_snapshots_has_an_empty_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    lab.lists["control0"] = ""
    assert main(["list"], lab, tmp_path) == 0
    assert capsys.readouterr().out == "There is no snapshot yet.\n"


def test_a_lab_without_control_planes_has_no_etcd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    lab.role = "worker"
    assert main(["list"], lab, tmp_path) == 2
    assert "has no etcd" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["list", "--output", "file"], ["restore"], []])
def test_wrong_words_are_refused(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(words, Lab(), tmp_path)
    assert end.value.code == 2
