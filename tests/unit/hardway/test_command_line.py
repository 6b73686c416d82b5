"""The command line: its words, its help, and the programs that it starts."""

from __future__ import annotations

import argparse
import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from hardway import commands
from hardway.__main__ import main
from hardway.arguments import FORWARDED, HELP, WITH_JSON, parse
from host import environment, prepare
from host.engine import snapshots, stopped, suspension
from host.engine.snapshots import LabSnapshot
from host.engine.stack import Stack
from host.libvirt import undefined
from host.libvirt.private import PrivateLibvirt
from host.workspace import Workspace
from system import console
from system.console import Verbosity
from system.errors import HostError
from system.files import CHECKOUT
from tests.support.fake_programs import put

INTERNAL = {"recover", "hypervisor"}


@pytest.fixture(autouse=True)
def verbosity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(console.VERBOSITY_VARIABLE, "normal")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a prepared checkout whose Python prints its arguments, folder and some variables."""
    workspace = Workspace(tmp_path / "checkout")
    workspace.checkout.mkdir()
    environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": Path("/bin/true")}, False)
    (workspace.venv / "bin").mkdir(parents=True)
    put(workspace.venv / "bin", "python", 'echo "$@"; pwd; echo "$PYTHONPATH"; echo "$HARDWAY_VIRTUALIZATION"; exit 7')
    monkeypatch.delenv("PYTHONPATH", raising=False)
    # Commands change the current folder; monkeypatch restores it.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands, "_workspace", lambda: workspace)
    return workspace


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.CompletedProcess[str]]:
    """Run programs that would replace this process, and return their results."""
    results: list[subprocess.CompletedProcess[str]] = []

    def execve(_: str, words: Sequence[str], variables: dict[str, str]) -> None:
        results.append(subprocess.run(words, env=variables, capture_output=True, text=True, check=False))

    monkeypatch.setattr(os, "execve", execve)
    return results


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fake the steps of all commands, and return the list of calls."""
    calls: list[str] = []
    for name in ("prepare", "clean"):
        monkeypatch.setattr(prepare, name, lambda _, *rest, name=name: calls.append(" ".join([name, *rest[:1]])))
    monkeypatch.setattr(Stack, "__init__", lambda self, _, name: setattr(self, "name", name))
    for name in ("up", "preview", "destroy", "write_access", "select"):
        monkeypatch.setattr(Stack, name, lambda self, *_, name=name: calls.append(f"{name} {self.name}"))

    monkeypatch.setattr(commands, "deployed", lambda _: ["dev", "mine"])

    def toolchain(words: Sequence[str]) -> int:
        calls.append(" ".join(words))
        return 0

    monkeypatch.setattr("toolchain.__main__.main", toolchain)
    return calls


def test_without_words_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == HELP


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_is_one_screen(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([word])
    assert end.value.code == 0
    assert capsys.readouterr().out == HELP
    assert len(HELP.splitlines()) <= 40
    assert max(map(len, HELP.splitlines())) <= 100


def test_help_lists_every_command_but_the_internal_ones() -> None:
    listed = {line.split()[0] for line in HELP.splitlines() if line.startswith("  ") and line.strip()[0].isalpha()}
    assert commands.COMMANDS.keys() - INTERNAL <= listed
    assert not INTERNAL & listed


@pytest.mark.parametrize("command", [*FORWARDED, "up", "preview", "clean", "recover"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse([command, "--help"])
    assert end.value.code == 0
    assert f"hardway {command}" in capsys.readouterr().out


@pytest.mark.parametrize("command", FORWARDED)
def test_help_explains_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([command, "--help"])
    assert "Exit code: 0 if " in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["prepare"], ["prepare dev"]),
        (["up", "--stack", "mine"], ["prepare mine", "up mine"]),
        (["--stack", "mine", "preview"], ["prepare mine", "preview mine"]),
        (["destroy", "--stack=organization/hardway/mine"], ["destroy mine"]),
        (["access"], ["write_access dev"]),
        (["prune", "--stack", "mine"], ["prune"]),
        (["clean"], ["clean"]),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_a_command_runs_its_steps(words: list[str], expected: list[str], calls: list[str]) -> None:
    assert main(words) == 0
    assert calls == expected


@pytest.mark.parametrize("words", [["--json", "--stack", "mine", "verify"], ["verify", "--stack", "mine", "--json"]])
def test_common_options_may_be_on_both_sides(words: list[str]) -> None:
    options = parse(words)
    assert (options.command, options.stack, options.json) == ("verify", "mine", True)


@pytest.mark.parametrize("command", sorted(commands.COMMANDS.keys() - set(WITH_JSON) - INTERNAL))
def test_json_is_refused_without_a_json_output(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["NAME"] if command in ("snapshot", "revert", "fork") else []
    with pytest.raises(SystemExit) as end:
        parse([command, "--json", *names])
    assert end.value.code == 2
    assert f"`{command}` has no JSON output" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["up", "--stack", "organization/other/dev"], "another organization or project"),
        (["up", "--quiet", "--verbose"], "exclude each other"),
        (["preview", "--json", "--markdown"], "exclude each other"),
        (["up", "--max-disruption", "low"], "invalid choice: 'low' (choose from"),
        (["--quiet", "up", "--verbose"], "exclude each other"),
        (["up", "--unknown"], "unrecognized arguments: --unknown"),
        (["nonsense"], "there is no command nonsense; `hardway --help` lists the commands"),
        (["verif"], "there is no command verif; did you mean verify?"),
        (["access", "--group", "developers"], "add --user NAME"),
        (["access", "--hours", "0"], "add --user NAME"),
        (["access", "--output", "file"], "add --user NAME"),
        (["up", "--", "--smoke"], "unrecognized arguments: -- --smoke"),
        (["--stack", "dev"], "the following arguments are required: COMMAND"),
    ],
)
def test_wrong_words_are_refused(words: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(words)
    assert end.value.code == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "level"), [("--quiet", Verbosity.QUIET), ("--verbose", Verbosity.VERBOSE), ("--smoke", Verbosity.NORMAL)]
)
def test_verbosity_holds_for_started_programs(word: str, level: Verbosity, calls: list[str]) -> None:
    words = ["up", word] if word != "--smoke" else ["up"]
    assert main(words) == 0
    assert os.environ[console.VERBOSITY_VARIABLE] == level
    assert calls


@pytest.mark.parametrize("command", ["status", "verify", "smoke"])
def test_checks_run_in_the_labs_environment(
    command: str, workspace: Workspace, replaced: list[subprocess.CompletedProcess[str]]
) -> None:
    main([command, "--json", "--watch", "5", "--quiet", "--stack", "organization/hardway/mine"])
    [result] = replaced
    assert result.stdout.splitlines() == [
        f"-P -m ops.{command} --stack mine --json --quiet --watch 5",
        str(workspace.checkout),
        str(CHECKOUT),
        "qemu",
    ]
    assert result.returncode == 7


def test_probe_stays_in_the_folder_and_passes_its_command_on(
    workspace: Workspace, replaced: list[subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (workspace.bin / "in-lab").unlink()
    words = ["--stack", "mine", "probe", "--seconds", "5", "--json", "--", "hardway", "--quiet", "--", "--stack", "x"]
    main(words)
    assert replaced[0].stdout.splitlines() == [
        "-P -m ops.probe --stack mine --json --seconds 5 -- hardway --quiet -- --stack x",
        str(tmp_path),
        str(CHECKOUT),
        "qemu",
    ]


@pytest.mark.usefixtures("workspace")
def test_output_of_etcd_is_in_the_current_folder(
    replaced: list[subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["etcd", "snapshot", "--output", "mine.db"])
    assert replaced[0].stdout.splitlines()[0] == f"-P -m ops.etcd --stack dev snapshot --output {tmp_path}/mine.db"


@pytest.mark.parametrize("command", ["verify", "smoke"])
@pytest.mark.usefixtures("workspace")
def test_junit_file_is_in_the_current_folder(
    command: str, replaced: list[subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    main([command, "--junit", "results.xml"])
    assert replaced[0].stdout.splitlines()[0] == f"-P -m ops.{command} --stack dev --junit {tmp_path}/results.xml"


@pytest.mark.parametrize("command", ["verify", "smoke", "probe", "etcd"])
def test_commands_that_need_nodes_name_the_start(
    command: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped.write(workspace, "dev")
    assert main([command]) == 2
    assert "Stack dev has been stopped since 2" in (printed := capsys.readouterr().err)
    assert "Start it: `.lab/bin/hardway start --stack dev`" in printed


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["stop", "--stack", "mine"], "stop mine"),
        (["start"], "start dev"),
        (["snapshot", "before"], "take dev before"),
        (["snapshot", "before", "--delete"], "delete dev before"),
        (["revert", "before"], "revert dev before"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_lab_is_stopped_and_kept(words: list[str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    functions = {suspension: ("stop", "start"), snapshots: ("take", "delete", "revert")}
    for module, names in functions.items():
        for name in names:
            monkeypatch.setattr(module, name, lambda _, *rest, name=name: done.append(" ".join([name, *rest])))
    assert main(words) == 0
    assert done == [expected]


@pytest.mark.usefixtures("workspace")
def test_snapshots_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = LabSnapshot(name="before", time="2026-01-02T03:04:05Z", size=2**31, vms={})
    monkeypatch.setattr(snapshots, "listed", lambda *_: [found])
    assert main(["snapshots"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["before", "2026-01-02T03:04:05Z", "2.0", "GiB"]


def test_up_starts_a_stopped_lab_first(workspace: Workspace, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    stopped.write(workspace, "dev")
    monkeypatch.setattr(suspension, "start_vms", lambda _, stack: calls.append(f"start {stack}"))
    monkeypatch.setattr(Stack, "wait_for_clocks", lambda _: calls.append("clocks"))
    assert main(["up"]) == 0
    assert calls == ["prepare dev", "start dev", "clocks", "up dev"]


@pytest.mark.parametrize("command", ["status", "verify", "smoke", "probe"])
def test_checks_need_a_prepared_machine(command: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.env.unlink()
    assert main([command, "--quiet"]) == 2
    assert f"{workspace.env} does not exist. Bring the lab up first: make up" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--markdown"])
def test_documents_of_a_preview_need_no_engine_output(
    option: str, workspace: Workspace, calls: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["preview", option, "--max-disruption", "drain"]) == 7
    assert calls == ["prepare dev", "select dev"]
    words, folder, path, _ = capfd.readouterr().out.splitlines()
    expected = ["-P -m ops.preview --stack dev", option, "--max-disruption drain"]
    assert set(words.split()) == set(" ".join(expected).split())
    assert (folder, path) == (str(workspace.checkout), str(CHECKOUT))


@pytest.mark.parametrize(
    ("words", "nodes"),
    [([], None), (["--renew"], []), (["--renew", "node-0", "node-1", "--quiet"], ["node-0", "node-1"])],
)
@pytest.mark.usefixtures("workspace", "calls")
def test_certificates_are_renewed_by_up_and_preview(
    words: list[str], nodes: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[object] = []
    monkeypatch.setattr(Stack, "up", lambda *words: renewed.append(words[-1]))
    monkeypatch.setattr(Stack, "preview", lambda *words: renewed.append(words[-1]))
    assert main(["up", *words]) == main(["preview", *words]) == 0
    assert renewed == [nodes, nodes]


@pytest.mark.usefixtures("calls")
def test_impact_of_a_renewal_is_that_of_replaced_certificates(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert workspace.env.exists()
    monkeypatch.setattr(Stack, "renewal", lambda _, nodes: ["--replace", f"urn of {nodes}"])
    assert main(["preview", "--json", "--renew", "node-1"]) == 7
    assert capfd.readouterr().out.splitlines()[0].endswith("--replace urn of ['node-1']")


@pytest.mark.parametrize("words", [["--max-disruption", "drain"], []])
def test_a_limit_is_checked_before_anything_changes(words: list[str], workspace: Workspace, calls: list[str]) -> None:
    if not words:
        workspace.stack_file("dev").write_text("config:\n  hardway:maxDisruption: drain\n")
    assert main(["up", *words]) == 7
    assert calls == ["prepare dev", "select dev"]
    assert main(["preview", *words]) == 7
    assert calls[2:] == ["prepare dev", "preview dev"]


def test_up_goes_on_within_the_limit(workspace: Workspace, calls: list[str]) -> None:
    put(workspace.venv / "bin", "python", "exit 0")
    assert main(["up", "--max-disruption", "drain"]) == 0
    assert calls == ["prepare dev", "select dev", "up dev"]


def test_without_a_limit_no_impact_is_read(workspace: Workspace, calls: list[str]) -> None:
    workspace.stack_file("dev").write_text("config:\n  hardway:maxUnavailable: 2\n")
    assert main(["up"]) == main(["preview"]) == 0
    assert calls == ["prepare dev", "up dev", "prepare dev", "preview dev"]


@pytest.mark.usefixtures("workspace", "calls")
def test_access_of_a_user_is_created_in_the_labs_environment(
    replaced: list[subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    words = ["access", "--user", "alice", "--group", "a", "--group", "b", "--hours", "0", "--output", "file"]
    main([*words, "--quiet"])
    assert replaced[0].stdout.splitlines()[0] == (
        f"-P -m ops.access --stack dev --quiet --user=alice --group=a --group=b --hours=0 --output={tmp_path}/file"
    )


@pytest.mark.usefixtures("workspace", "calls")
def test_up_can_be_followed_by_smoke(replaced: list[subprocess.CompletedProcess[str]]) -> None:
    main(["up", "--smoke"])
    assert replaced[0].stdout.startswith("-P -m ops.smoke --stack dev\n")


@pytest.mark.parametrize("words", [["explain", "node-0", "kubelet"], ["render", "node-0", "folder"]])
def test_looking_needs_no_lab_and_stays_in_the_folder(
    words: list[str],
    workspace: Workspace,
    replaced: list[subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    workspace.env.unlink()
    main(words)
    command, *arguments = words
    assert replaced[0].stdout.splitlines()[:3] == [
        f"-P -m ops.{command} --stack dev {' '.join(arguments)}",
        str(tmp_path),
        str(CHECKOUT),
    ]


def test_looking_creates_only_the_python_environment(
    workspace: Workspace, replaced: list[subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace.venv / "bin/python").unlink()

    def ensure(folder: Path, _: Path) -> None:
        put(folder / "bin", "python", "echo created")

    monkeypatch.setattr("host.machine.virtualenv.ensure", ensure)
    main(["explain", "node-0"])
    assert replaced[0].stdout == "created\n"


def test_a_missing_program_is_named(workspace: Workspace) -> None:
    (workspace.bin / "in-lab").unlink()
    with pytest.raises(Exception, match="in-lab cannot be run: No such file"):
        commands.check(parse(["status"]))


def test_an_unusable_file_is_named_with_the_reason(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hardway", "recover", str(tmp_path), "/bin/true"]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == f"hardway: {tmp_path}/.lab/state/.recovering: No such file or directory\n"


def test_everybody_can_read_the_record_of_a_private_libvirt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "holder"
    monkeypatch.setattr(PrivateLibvirt, "start", lambda *_, **__: record.touch())
    before = os.umask(0o077)
    try:
        assert main(["hypervisor", "start", str(tmp_path)]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(record.stat().st_mode) == 0o644


def test_destroy_refuses_a_stack_that_nobody_knows(workspace: Workspace, calls: list[str]) -> None:
    with pytest.raises(HostError, match=r"Stack dve has no resources.*Pulumi\.dve\.yaml.*with resources: dev, mine\."):
        main(["destroy", "--stack", "dve"])
    assert calls == []
    workspace.stack_file("dve").touch()
    main(["destroy", "--stack", "dve"])
    assert calls == ["destroy dve"]


@pytest.mark.usefixtures("calls")
def test_destroy_defines_what_somebody_undefined(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "deployment_of", lambda *names: {"resources": names[1:]})
    monkeypatch.setattr(undefined, "define_again", lambda state, program: [f"{state} {program.name}"])
    main(["destroy"])
    put(workspace.bin, "virsh", "")
    assert "does not exist any more" not in capsys.readouterr().err
    main(["destroy"])
    assert "{'resources': ('dev',)} virsh does not exist any more" in capsys.readouterr().err


@pytest.mark.usefixtures("calls")
def test_failed_destroy_keeps_the_snapshots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(_: Stack) -> None:
        raise HostError("a resource is protected")

    monkeypatch.setattr(commands, "CHECKOUT", tmp_path)
    monkeypatch.setattr(Stack, "destroy", fail)
    kept = Workspace(tmp_path).snapshots("dev") / "before"
    kept.mkdir(parents=True)
    with pytest.raises(HostError, match="protected"):
        commands.destroy(argparse.Namespace(stack="dev"))
    assert kept.is_dir()
