"""A rehearsal with fake commands of `hardway` in the original and in the fork."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from host.workspace import Workspace
from ops.rehearse.__main__ import main, outside
from system.files import CHECKOUT
from tests.support.fake_programs import put

_ORIGINAL = """\
echo "original $*" >>"{log}"
case "$1 $3" in
    "snapshot --delete") rmdir "{snapshots}/$2" ;;
    snapshot*) mkdir -p "{snapshots}/$2" ;;
    fork*)
        mkdir -p "$3/.lab/bin"
        cp "{folder}/fork" "$3/.lab/bin/hardway"
        echo "encryptionsalt: of-the-fork" >"$3/Pulumi.dev.yaml"
        if [ -e "{folder}/fork-fails" ]; then exit 1; fi ;;
esac
"""
_FORK = """\
echo "fork $1" >>"{log}"
case $1 in
    preview) cat Pulumi.dev.yaml >"{folder}/configuration"; cat "{folder}/impact"; exit $(cat "{folder}/code") ;;
    probe)
        cat "{folder}/measurement"
        if [ -e "{folder}/waits" ]; then
            trap 'echo "fork interrupted" >>"{log}"; exit 130' TERM
            touch "{folder}/waiting"
            while :; do sleep 0.1; done
        fi
        while [ "$1" != -- ]; do shift; done
        shift
        echo "$*" >>"{log}" ;;
    clean) test ! -e "{folder}/clean-fails" || exit 1; rm -r .lab ;;
esac
"""
IMPACT = {
    "stack": "dev",
    "disruption": "restart",
    "nodes": [
        {
            "name": "a",
            "change": "changed",
            "disruption": "restart",
            "services": [{"name": "kubelet", "change": "changed", "disruption": "restart"}],
        }
    ],
}
MEASUREMENT = {
    "stack": "dev",
    "start": "2026-01-02T03:04:05",
    "seconds": 60.0,
    "targets": [],
    "nodes": [],
    "pods": [],
    "services": [{"node": "a", "service": "kubelet", "at": 12.0}],
    "notes": [],
}


class Original:
    """A checkout whose `hardway` writes down its commands.

    Attributes:
        folder: Folder of the files that the fake programs read.
        workspace: The checkout.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = Workspace(folder / "lab")
        self.workspace.bin.mkdir(parents=True)
        names = {"log": folder / "log", "folder": folder, "snapshots": self.workspace.snapshots("dev")}
        put(self.workspace.bin, "hardway", _ORIGINAL.format(**names))
        put(folder, "fork", _FORK.format(**names))
        self.workspace.stack_file("dev").write_text("config: {new: 1}\nencryptionsalt: old\n")
        self.answer(IMPACT, MEASUREMENT)

    def answer(self, impact: object, measurement: object, code: int = 0) -> None:
        """Set the documents of the fork, and the exit code of its `preview`."""
        (self.folder / "impact").write_text(json.dumps(impact))
        (self.folder / "measurement").write_text(json.dumps(measurement))
        (self.folder / "code").write_text(str(code))

    def run(self, *words: str) -> int:
        """Rehearse in this process."""
        return main([*words], self.workspace.checkout)

    def log(self) -> list[str]:
        """Return the commands, without the time in names."""
        return [line.partition("-20")[0] for line in (self.folder / "log").read_text().splitlines()]

    def leftovers(self) -> list[Path]:
        """Return the forks and snapshots that exist."""
        return [*self.folder.glob("lab-rehearsal-*"), *self.workspace.snapshots("dev").glob("*")]


@pytest.fixture
def original(tmp_path: Path) -> Original:
    return Original(tmp_path)


def test_change_is_rehearsed_and_everything_deleted(original: Original, capsys: pytest.CaptureFixture[str]) -> None:
    assert original.run("--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["asPredicted"], document["differences"], document["fork"]) == (True, [], None)
    assert document["parts"] == [{"node": "a", "part": "kubelet", "predicted": "restart", "seen": 12.0}]
    [up] = [line for line in original.log() if "exec" in line]
    assert up.startswith('sh -c exec "$@" >&2 sh')
    assert [line for line in original.log() if line != up] == [
        "original snapshot rehearsal",
        "original fork rehearsal",
        *("fork preview", "fork probe", "fork clean"),
        "original snapshot rehearsal",
    ]
    assert original.leftovers() == []


def test_fork_gets_the_stack_file_with_its_own_salt(original: Original, tmp_path: Path) -> None:
    assert original.run() == 0
    assert (tmp_path / "configuration").read_text() == "config: {new: 1}\nencryptionsalt: of-the-fork\n"
    (tmp_path / "other.yaml").write_text("config: {other: 1}\n")
    assert original.run("--config", str(tmp_path / "other.yaml")) == 0
    assert (tmp_path / "configuration").read_text() == "config: {other: 1}\nencryptionsalt: of-the-fork\n"


def test_other_impact_is_a_problem(original: Original, capsys: pytest.CaptureFixture[str]) -> None:
    original.answer(IMPACT, {**MEASUREMENT, "services": []})
    assert original.run() == 1
    assert "kubelet on a was predicted to start again" in capsys.readouterr().out
    assert original.leftovers() == []


def test_existing_snapshot_stays(original: Original) -> None:
    (original.workspace.snapshots("dev") / "mine").mkdir(parents=True)
    assert original.run("--snapshot", "mine") == 0
    assert [path.name for path in original.leftovers()] == ["mine"]
    assert original.log()[0] == f"original fork mine {original.workspace.checkout}-rehearsal"


def test_fork_and_snapshot_are_kept_on_request(original: Original, capfd: pytest.CaptureFixture[str]) -> None:
    assert original.run("--keep") == 0
    assert len(original.leftovers()) == 2
    assert "The fork is kept in" in capfd.readouterr().err
    assert "fork clean" not in original.log()


def test_failed_fork_is_deleted(original: Original, capfd: pytest.CaptureFixture[str]) -> None:
    (original.folder / "fork-fails").touch()
    assert original.run() == 2
    assert "the lab was not forked" in capfd.readouterr().err
    assert original.leftovers() == []


def test_change_beyond_the_limit_is_not_applied(original: Original, capfd: pytest.CaptureFixture[str]) -> None:
    original.answer(IMPACT, MEASUREMENT, code=3)
    assert original.run() == 1
    assert "needs more than the limit" in capfd.readouterr().err
    assert "fork probe" not in original.log()
    assert original.leftovers() == []


def test_fork_that_cannot_be_deleted_is_named(original: Original, capfd: pytest.CaptureFixture[str]) -> None:
    (original.folder / "clean-fails").touch()
    assert original.run() == 1
    assert "could not be deleted" in capfd.readouterr().err


def test_missing_stack_file_takes_no_snapshot(original: Original, capfd: pytest.CaptureFixture[str]) -> None:
    assert original.run("--config", "missing.yaml") == 2
    assert "missing.yaml is no file" in capfd.readouterr().err
    assert not (original.folder / "log").exists()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("{}", []),
        ("{hardway:workers: [{name: a}]}", []),
        ("{hardway:workers: [{name: a, machine: {address: 192.0.2.1}}]}", ["machine of worker a"]),
        ("{hardway:join: {server: x}}", ["join"]),
        ("{hardway:libvirtUri: qemu+ssh://other/system}", ["libvirtUri"]),
        ("[]", []),
    ],
)
def test_parts_outside_of_the_fork_are_named(tmp_path: Path, values: str, expected: list[str]) -> None:
    (tmp_path / "stack.yaml").write_text(f"config: {values}\n")
    assert outside(tmp_path / "stack.yaml") == expected


def test_change_of_an_existing_machine_is_refused(original: Original, capfd: pytest.CaptureFixture[str]) -> None:
    original.workspace.stack_file("dev").write_text("config: {hardway:workers: [{name: m, machine: {}, x: 1}]}\n")
    assert original.run() == 0
    original.workspace.stack_file("dev").write_text("config: {hardway:workers: [{name: m, machine: {user: u}}]}\n")
    assert original.run() == 2
    assert "machine of worker m would change machines outside" in capfd.readouterr().err
    assert original.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_interrupted_rehearsal_deletes_everything(original: Original, number: signal.Signals) -> None:
    (original.folder / "waits").touch()
    program = "import sys, pathlib, ops.rehearse.__main__ as r; sys.exit(r.main([], pathlib.Path(sys.argv[1])))"
    variables = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    words = [sys.executable, "-P", "-c", program, str(original.workspace.checkout)]
    process = subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, text=True)
    while not (original.folder / "waiting").exists():
        assert process.poll() is None, process.communicate()[1]
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert "fork interrupted" in original.log()
    assert original.leftovers() == []
