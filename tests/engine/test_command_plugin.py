"""The command plugin, run by the real engine, with a real sshd as the remote machine."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.pulumi_project import Project, interrupt
from tests.support.ssh_server import KEY_PASSWORD, SshServer, free_port
from tests.support.tcp_relay import Relay
from tests.support.waiting import wait_until

SECRET = "hush-hush-4711"
SECRET_LINES = f"first line of {SECRET}\nsecond line of {SECRET}\n"

NewProject = Callable[[str], Project]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """The remote machine."""
    server = SshServer(tmp_path_factory.mktemp("ssh") / "server")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def jump_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    """A second machine with different keys."""
    server = SshServer(tmp_path_factory.mktemp("ssh") / "jump-host")
    yield server
    server.stop()


# The life of a command: four runs of the engine with one program whose values change.

LIFE = """
def run(module, name, **inputs):
    given = dict(connection=values["connection"]) if module is command.remote else {}
    return module.Command(
        name,
        **given,
        add_previous_output_in_env=inputs.pop("previous", None),
        **inputs,
    )

def record(what):
    return f"echo {what} >> {values['log']}"

text = values["text"]
for place, module in (("local", command.local), ("remote", command.remote)):
    run(module, f"{place}-replaced", create=record(f"{place} create {text}"), delete=record(f"{place} delete {text}"),
        triggers=[1, {"nested": text}])
    run(module, f"{place}-replaced-by-secret", create="true", triggers=pulumi.Output.secret([text]))
    run(module, f"{place}-updated", create=record(f"{place} create"), update=record(f"{place} update"), stdin=text)
    run(module, f"{place}-created-again", create=record(f"{place} again {text}"))
    run(module, f"{place}-unchanged", create=record(f"{place} unchanged"))
    run(module, f"{place}-reads", create="cat", stdin=text)
    run(module, f"{place}-previous", logging=module.Logging.NONE,
        create=f'echo "{text}<$PULUMI_COMMAND_STDOUT|$PULUMI_COMMAND_STDERR>"; echo warned >&2')
    run(module, f"{place}-no-previous", create=f'echo "{text}<$PULUMI_COMMAND_STDOUT>"', previous=False)
    run(module, f"{place}-secret", create="cat; echo fine >&2", stdin=pulumi.Output.secret(values["secret"]),
        logging=module.Logging.STDERR)
    run(module, f"{place}-public", create="echo plain")
    if text == "one":
        run(module, f"{place}-removed", create="true", delete="cat; echo removed", stdin="from stdin ")
"""


class Life:
    """The life of one stack: created with "one", unchanged, changed to "two", destroyed.

    The attributes have the runs, the records of the commands, and the states after the first and the last change.
    """

    def __init__(self, project: Project, server: SshServer, log: Path) -> None:
        self.project = project
        self.log = log
        values = {"connection": server.connection(), "log": str(log), "secret": SECRET_LINES}
        project.write(LIFE, values | {"text": "one"})
        self.created = project.up()
        self.first_state = project.export()
        log.write_text("")
        self.unchanged = project.up()
        self.recorded_unchanged = log.read_text()
        project.write(LIFE, values | {"text": "two"})
        self.previewed = project.preview()
        self.changed = project.up()
        self.recorded = log.read_text().splitlines()
        self.state = project.export()
        log.write_text("")
        project.destroy()
        self.recorded_at_the_end = log.read_text().splitlines()
        self.files = b"".join(path.read_bytes() for path in project.state.rglob("*") if path.is_file()).decode()

    def outputs(self, name: str) -> dict[str, Any]:
        """Return the outputs of a resource in the last state."""
        return _outputs(self.state, name)


@pytest.fixture(scope="module")
def life(new_project: NewProject, server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """The life of one stack, shared by all tests."""
    return Life(new_project("life"), server, tmp_path_factory.mktemp("records") / "log")


def _outputs(state: dict[str, Any], name: str) -> dict[str, Any]:
    resources = state["deployment"]["resources"]
    (resource,) = (resource for resource in resources if resource["urn"].endswith(f"::{name}"))
    outputs: dict[str, Any] = resource["outputs"]
    return outputs


def _is_secret(value: object) -> bool:
    # The signature that marks an encrypted value in the state.
    return (
        isinstance(value, dict) and value.get("4dabf18193072939515e22adb298388d") == "1b47061264138c4ac30d75fd1eb44270"
    )


both_places = pytest.mark.parametrize("place", ["local", "remote"])


def test_nothing_runs_without_a_change(life: Life) -> None:
    assert life.unchanged.steps == []
    assert life.recorded_unchanged == ""


@both_places
def test_changed_trigger_creates_before_it_deletes(life: Life, place: str) -> None:
    assert life.changed.operations(f"{place}-replaced") == ["create-replacement", "replace", "delete-replaced"]
    records = [line for line in life.recorded if line.startswith((f"{place} create ", f"{place} delete "))]
    assert records == [f"{place} create two", f"{place} delete one"]


@both_places
def test_changed_secret_trigger_replaces(life: Life, place: str) -> None:
    assert "create-replacement" in life.changed.operations(f"{place}-replaced-by-secret")


@both_places
def test_changed_input_runs_update(life: Life, place: str) -> None:
    assert life.changed.operations(f"{place}-updated") == ["update"]
    assert f"{place} update" in life.recorded
    assert f"{place} create" not in life.recorded


@both_places
def test_changed_input_runs_create_without_update(life: Life, place: str) -> None:
    assert life.changed.operations(f"{place}-created-again") == ["update"]
    assert f"{place} again two" in life.recorded


@both_places
def test_unchanged_command_does_not_run(life: Life, place: str) -> None:
    assert life.changed.operations(f"{place}-unchanged") == []
    assert f"{place} unchanged" not in life.recorded


@both_places
def test_preview_shows_steps_and_runs_nothing(life: Life, place: str) -> None:
    for name in ("replaced", "updated", "unchanged", "secret"):
        assert life.previewed.operations(f"{place}-{name}") == life.changed.operations(f"{place}-{name}")
    assert len([line for line in life.recorded if line == f"{place} again two"]) == 1


@both_places
def test_stdin_reaches_the_command(life: Life, place: str) -> None:
    assert _outputs(life.first_state, f"{place}-reads")["stdout"] == "one"
    assert life.outputs(f"{place}-reads")["stdout"] == "two"


@both_places
def test_command_reads_previous_output(life: Life, place: str) -> None:
    assert _outputs(life.first_state, f"{place}-previous")["stdout"] == "one<|>"
    assert life.outputs(f"{place}-previous")["stdout"] == "two<one<|>|warned>"


@both_places
def test_previous_output_can_be_disabled(life: Life, place: str) -> None:
    assert life.outputs(f"{place}-no-previous")["stdout"] == "two<>"


@both_places
def test_delete_runs_for_a_removed_resource(life: Life, place: str) -> None:
    assert life.changed.operations(f"{place}-removed") == ["delete"]
    assert life.changed.messages(f"{place}-removed", "info").strip() == "from stdin removed"


@both_places
def test_delete_runs_at_destroy(life: Life, place: str) -> None:
    assert f"{place} delete two" in life.recorded_at_the_end


@both_places
def test_output_is_secret_if_an_input_is(life: Life, place: str) -> None:
    outputs = life.outputs(f"{place}-secret")
    assert _is_secret(outputs["stdout"])
    assert _is_secret(outputs["stderr"])
    assert _is_secret(outputs["stdin"])
    assert life.outputs(f"{place}-public")["stdout"] == "plain"


def test_connection_is_secret(life: Life) -> None:
    assert _is_secret(life.outputs("remote-public")["connection"])


def test_no_secret_is_in_state_or_output(life: Life, server: SshServer) -> None:
    key_line = server.key("user_key").splitlines()[1]
    for secret in (SECRET, key_line):
        assert secret not in life.files
        for run in (life.created, life.unchanged, life.previewed, life.changed):
            assert secret not in run.output
            assert secret not in json.dumps(run.events)


def test_preview_shows_nothing_of_a_changed_secret(new_project: NewProject) -> None:
    """The engine would compare the characters of a single line, which takes seconds, and print both lines."""
    project = new_project("archive")
    for seed in ("one", "two"):
        archive = base64.b64encode(random.Random(seed).randbytes(45_000)).decode()
        project.write(
            'command.local.Command("sent", create="true", stdin=pulumi.Output.secret(values["archive"]))',
            {"archive": archive},
        )
        if seed == "one":
            project.up()
    preview = project.preview("--diff")
    assert preview.operations("sent") == ["update"]
    assert "stdin: [secret] => [secret]" in preview.output
    assert len(preview.output) < 2000


@both_places
def test_logging_selects_the_logged_streams(life: Life, place: str) -> None:
    assert life.created.messages(f"{place}-public", "info").strip() == "plain"
    assert life.created.messages(f"{place}-secret", "info").strip() == "fine"
    assert life.created.messages(f"{place}-previous", "info") == ""


# Ways to connect to a machine, and commands that succeed there.

CONNECTIONS = """
connections = values["connections"]
for name, connection in connections.items():
    command.remote.Command(name, connection=connection, create="echo reached")

def run(name, **inputs):
    pulumi.export(name, command.remote.Command(name, connection=values["connection"], **inputs).stdout)

run("environment", create="echo $ACCEPTED", environment={"ACCEPTED": "a value"})
run("unread-stdin", create="echo done", stdin="x" * 4_000_000)
run("not-text", create=r"printf 'a\\377b\\n\\n'")
run("nothing", delete="true")
pulumi.export("run", command.local.run_output(command="echo $GIVEN", environment={"GIVEN": "here"}).stdout)
files = command.local.Command("files",
    create="mkdir -p made/deep; echo 1 > made/a.js; echo 2 > made/deep/b.js; echo 3 > made/no.txt",
    dir=values["dir"], asset_paths=["made/**.js", "!made/a*"], archive_paths=["made/*"])
pulumi.export("assets", files.assets.apply(lambda assets: sorted(assets)))
pulumi.export("archive", files.archive.apply(lambda archive: sorted(archive.assets)))
interpreted = command.local.Command("interpreted", create="print(6 * 7)", interpreter=["python3", "-c"])
pulumi.export("interpreted", interpreted.stdout)
"""


@pytest.fixture(scope="module")
def reached(
    new_project: NewProject, server: SshServer, jump_host: SshServer, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The outputs of a stack with one command for each way to connect. `up` fails if one of them does."""
    project = new_project("connections")
    booting = Relay(server.port, refuse=4)
    proxy = {key: value for key, value in jump_host.connection().items() if key != "dial_error_limit"}
    connections = {
        "private-key": server.connection(),
        "encrypted-key": server.connection(private_key=server.key("encrypted_key"), private_key_password=KEY_PASSWORD),
        "any-host-key": server.connection(host_key=None),
        "host-key-of-another-type": server.connection(host_key=server.key("other_host_key.pub")),
        "no-time-limit": server.connection(per_dial_timeout=0),
        "still-booting": server.connection(port=booting.port, dial_error_limit=-1),
        "jump-host": server.connection(proxy=proxy),
    }
    folder = tmp_path_factory.mktemp("connections")
    project.write(CONNECTIONS, {"connections": connections, "connection": server.connection(), "dir": str(folder)})
    project.up()
    booting.close()
    assert booting.accepted == 5
    return project.outputs()


@pytest.mark.usefixtures("reached")
def test_jump_host_is_used(jump_host: SshServer) -> None:
    assert "Accepted publickey" in jump_host.log()


def test_accepted_environment_variable_is_set(reached: dict[str, Any]) -> None:
    assert reached["environment"] == "a value"


def test_command_may_ignore_stdin(reached: dict[str, Any]) -> None:
    assert reached["unread-stdin"] == "done"


def test_invalid_utf8_output_is_replaced(reached: dict[str, Any]) -> None:
    assert reached["not-text"] == "a\ufffdb\n"


def test_missing_create_runs_nothing(reached: dict[str, Any]) -> None:
    assert reached["nothing"] == ""


def test_run_function_returns_output(reached: dict[str, Any]) -> None:
    assert reached["run"] == "here"


def test_last_matching_glob_decides(reached: dict[str, Any]) -> None:
    assert reached["assets"] == ["made/deep/b.js"]
    assert reached["archive"] == ["made/a.js", "made/no.txt"]


def test_interpreter_can_be_changed(reached: dict[str, Any]) -> None:
    assert reached["interpreted"] == "42"


# Failures: one run of the engine in which every command fails.

FAILURES = """
def run(name, **inputs):
    command.remote.Command(name, **{"connection": values["connection"], "create": "echo never", **inputs})

for name, connection in values["connections"].items():
    run(name, connection=connection)
# Ends by itself when nobody reads its output any more.
until_hung_up = "while echo; do sleep 0.1; done"
run("refused-environment", environment={"FORBIDDEN": "value"})
run("fails", create="echo to-stdout; echo to-stderr >&2; exit 3")
run("killed", create="kill -9 $$")
secret = values["secret"]
run("prints-secret", create=f"cat; echo password {secret}; exit 1", stdin=pulumi.Output.secret(secret))
run("cut", connection=values["cut"], create=f"echo begun; touch {values['folder']}/cut; {until_hung_up}")
run("silenced", connection=values["silenced"], create=f"touch {values['folder']}/silenced; {until_hung_up}")
command.local.Command("fails-locally", create="echo to-stdout; echo to-stderr >&2; exit 3")
command.local.Command("no-folder", create="true", dir="/does/not/exist")
"""


class Failures:
    """A run of the engine in which every command fails."""

    def __init__(self, project: Project, server: SshServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.closing, cut, silenced = Relay(None), Relay(server.port), Relay(server.port)
        with socket.create_server(("127.0.0.1", 0)) as mute:  # The kernel accepts, but nobody answers.
            connections = {
                "mute": server.connection(port=mute.getsockname()[1], per_dial_timeout=1, dial_error_limit=2),
                "closing": server.connection(port=self.closing.port, dial_error_limit=4),
                "refusing": server.connection(port=free_port(), dial_error_limit=2),
                "wrong-host-key": server.connection(host_key=server.key("user_key.pub"), dial_error_limit=-1),
                "unreadable-host-key": server.connection(host_key="not a key", dial_error_limit=-1),
                "unreadable-key": server.connection(private_key="not a key", dial_error_limit=-1),
                "stranger": server.connection(private_key=server.key("host_key"), dial_error_limit=2),
                "wrong-jump-host-key": server.connection(
                    proxy=server.connection(host_key=server.key("user_key.pub"), dial_error_limit=-1)
                ),
            }
            project.write(
                FAILURES,
                {
                    "connections": connections,
                    "connection": server.connection(),
                    "cut": server.connection(port=cut.port),
                    "silenced": server.connection(port=silenced.port),
                    "secret": SECRET,
                    "folder": str(folder),
                },
            )
            threads = [
                threading.Thread(target=self._when, args=("cut", cut.cut)),
                threading.Thread(target=self._when, args=("silenced", silenced.fall_silent)),
            ]
            for thread in threads:
                thread.start()
            self.run = project.up("--continue-on-error", fails=True)
            for thread in threads:
                thread.join()
        for relay in (self.closing, cut, silenced):
            relay.close()

    def _when(self, mark: str, then: Callable[[], None]) -> None:
        wait_until((self.folder / mark).exists, f"the command {mark} runs")
        then()

    def error(self, name: str) -> str:
        """Return the error of one command."""
        error = self.run.error(name)
        assert error, f"{name} did not fail:\n{self.run.output}"
        return error


@pytest.fixture(scope="module")
def failures(new_project: NewProject, server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Failures:
    """The run in which every command fails."""
    return Failures(new_project("failures"), server, tmp_path_factory.mktemp("marks"))


def test_silent_port_is_given_up(failures: Failures) -> None:
    error = failures.error("mute")
    assert "after 2 attempts" in error
    assert "no finished log-in within 1s" in error


def test_dial_error_limit_is_number_of_attempts(failures: Failures) -> None:
    assert "after 4 attempts" in failures.error("closing")
    assert failures.closing.accepted == 4


def test_refused_connection_error_names_the_address(failures: Failures) -> None:
    error = failures.error("refusing")
    assert "cannot connect to 127.0.0.1:" in error
    assert "connection refused" in error


def test_wrong_host_key_error_has_both_fingerprints(failures: Failures) -> None:
    error = failures.error("wrong-host-key")
    assert f"the host key of 127.0.0.1:{failures.server.port} is not the expected one" in error
    assert f"expected ssh-ed25519 {_fingerprint(failures.server, 'user_key.pub')}" in error
    assert f"seen ssh-ed25519 {_fingerprint(failures.server, 'host_key.pub')}" in error


def test_wrong_jump_host_key_is_an_error(failures: Failures) -> None:
    error = failures.error("wrong-jump-host-key")
    assert "jump host: the host key of" in error


def test_unreadable_key_errors_name_the_property(failures: Failures) -> None:
    assert "hostKey must be a public key" in failures.error("unreadable-host-key")
    assert "cannot read privateKey" in failures.error("unreadable-key")


def test_rejected_key_is_an_error(failures: Failures) -> None:
    assert "unable to authenticate" in failures.error("stranger")


def test_refused_environment_variable_error_names_accept_env(failures: Failures) -> None:
    error = failures.error("refused-environment")
    assert "refuses the environment variable FORBIDDEN" in error
    assert "AcceptEnv" in error


@pytest.mark.parametrize("name", ["fails", "fails-locally"])
def test_command_error_has_status_and_output(failures: Failures, name: str) -> None:
    error = failures.error(name)
    assert "exit" in error
    assert "status 3" in error
    # The order is not fixed, because these are two streams.
    assert set(error.partition("output:\n")[2].split()) == {"to-stdout", "to-stderr"}


def test_command_error_names_the_signal(failures: Failures) -> None:
    assert "signal KILL" in failures.error("killed")


def test_missing_folder_is_an_error(failures: Failures) -> None:
    assert "/does/not/exist" in failures.error("no-folder")


def test_secret_is_not_in_a_command_error(failures: Failures) -> None:
    assert "password [secret]" in failures.error("prints-secret")
    assert SECRET not in failures.run.output


def test_lost_connection_error_says_so(failures: Failures) -> None:
    error = failures.error("cut")
    assert "was lost while the command ran: whether it finished is not known" in error
    assert "output:\nbegun" in error


def test_silent_peer_is_given_up(failures: Failures) -> None:
    error = failures.error("silenced")
    assert "was lost while the command ran" in error
    assert "has not answered for 50s" in error


def _fingerprint(server: SshServer, name: str) -> str:
    digest = hashlib.sha256(base64.b64decode(server.key(name).split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


# Cancelling.

ENDLESS = """
def marked(name):
    return f"echo $$ $! > {values['folder']}/{name}.new; mv {values['folder']}/{name}.new {values['folder']}/{name}"

# The shell waits for its child. Both must end.
command.local.Command("local", create=f"sleep 600 & {marked('local')}; wait")
# root's sshd passes no signal on. The command ends because nobody reads its output any more.
command.remote.Command("remote", connection=values["connection"],
    create=f"{marked('remote')}; while echo; do sleep 0.1; done", logging="none")
"""


def test_interrupt_ends_commands_and_children(new_project: NewProject, server: SshServer, tmp_path: Path) -> None:
    project = new_project("cancelled")
    project.write(ENDLESS, {"connection": server.connection(), "folder": str(tmp_path)})
    process, events = project.start_run("up", "--yes", "--skip-preview")
    marks = [tmp_path / "local", tmp_path / "remote"]
    wait_until(lambda: all(mark.exists() for mark in marks), "both commands run", lambda: process.poll() is not None)
    pids = [int(pid) for mark in marks for pid in mark.read_text().split()]
    assert len(pids) == 3
    assert all(_runs(pid) for pid in pids)
    interrupt(process)
    run = project.finish_run(process, events)
    assert run.code != 0
    wait_until(lambda: not any(_runs(pid) for pid in pids), "all processes of the commands have ended")
    for name in ("local", "remote"):
        assert "cancelled" in run.error(name)
    assert "Traceback" not in run.output


def _runs(pid: int) -> bool:
    try:
        # The state follows the name, which ends with the last parenthesis. A zombie has ended.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Copying.

COPIES = """
def copy(name, source, path):
    return command.remote.CopyToRemote(name, connection=values["connection"], source=source,
        remote_path=f"{values['target']}/{path}")

source = Path(values["source"])
copy("file", pulumi.FileAsset(source / "file"), "new/folders/file")
copy("file-into-folder", pulumi.FileAsset(source / "file"), "present")
copy("text", pulumi.StringAsset(values["text"]), "text")
copy("secret-text", pulumi.Output.secret(values["secret"]).apply(pulumi.StringAsset), "secret-text")
copy("archive", pulumi.FileArchive(str(source / "archive.tar.gz")), "archive.tar.gz")
copy("folder", pulumi.FileArchive(str(source / "folder")), "folder")
copy("unchanged", pulumi.StringAsset("same"), "unchanged")
command.remote.CopyFile("old", connection=values["connection"], local_path=str(source / "file"),
    remote_path=f"{values['target']}/old")
"""


class Copies:
    """Two runs of the engine that copy files, the second with other content."""

    def __init__(self, project: Project, server: SshServer, folder: Path) -> None:
        self.target = folder / "target"
        (self.target / "present").mkdir(parents=True)
        source = folder / "source"
        (source / "folder/deep").mkdir(parents=True)
        (source / "file").write_text("one")
        (source / "archive.tar.gz").write_bytes(b"\x1f\x8b is not unpacked")
        (source / "folder/deep/leaf").write_text("one")
        (source / "folder/link").symlink_to("deep/leaf")
        values = {
            "connection": server.connection(),
            "source": str(source),
            "target": str(self.target),
            "secret": SECRET,
        }
        project.write(COPIES, values | {"text": "one"})
        project.up()
        self.first = self._content()
        (self.target / "unchanged").write_text("changed on the machine")
        (source / "file").write_text("two")
        (source / "folder/deep/leaf").write_text("two")
        project.write(COPIES, values | {"text": "two"})
        self.second_run = project.up()
        self.second = self._content()
        self.state = project.export()

    def _content(self) -> dict[str, str]:
        files = (path for path in self.target.rglob("*") if path.is_file())
        return {str(path.relative_to(self.target)): path.read_bytes().decode(errors="replace") for path in files}


@pytest.fixture(scope="module")
def copies(new_project: NewProject, server: SshServer, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """The files on the machine after each of two runs."""
    return Copies(new_project("copies"), server, tmp_path_factory.mktemp("copies"))


def test_copy_creates_missing_folders(copies: Copies) -> None:
    assert copies.first["new/folders/file"] == "one"
    assert copies.first["old"] == "one"


def test_file_is_copied_into_existing_folder(copies: Copies) -> None:
    assert copies.first["present/file"] == "one"


def test_text_is_copied(copies: Copies) -> None:
    assert copies.first["text"] == "one"


def test_archive_is_copied_packed(copies: Copies) -> None:
    assert copies.first["archive.tar.gz"].endswith(" is not unpacked")


def test_folder_content_is_copied_to_new_target(copies: Copies) -> None:
    assert copies.first["folder/deep/leaf"] == "one"
    assert copies.first["folder/link"] == "one"


def test_folder_is_copied_into_existing_target(copies: Copies) -> None:
    assert copies.second["folder/folder/deep/leaf"] == "two"


def test_only_changed_content_is_copied_again(copies: Copies) -> None:
    assert copies.second["new/folders/file"] == "two"
    assert copies.second["text"] == "two"
    assert copies.second["unchanged"] == "changed on the machine"
    assert copies.second_run.operations("text") == ["update"]
    assert copies.second_run.operations("unchanged") == []


def test_secret_asset_is_copied_and_secret(copies: Copies) -> None:
    assert copies.first["secret-text"] == SECRET
    assert SECRET not in json.dumps(copies.state)


# Commands on a machine that another machine replaces, as for a worker that is not a VM.

MOVES = """
def run(name, create, delete, *needed):
    record = f"echo {{}} {values['connection']['host']} >> {values['log']}"
    return command.remote.Command(name, connection=values["connection"], triggers=[values["connection"]["host"]],
        create=record.format(create), delete=record.format(delete), opts=pulumi.ResourceOptions(depends_on=needed))

first = run("machine", "adopt", "release")
run("service", "apply", "remove", first)
"""


def test_new_host_is_set_up_before_old_is_cleaned(new_project: NewProject, server: SshServer, tmp_path: Path) -> None:
    project, log = new_project("moves"), tmp_path / "log"
    for host in ("127.0.0.1", "localhost"):
        log.write_text("")
        project.write(MOVES, {"connection": server.connection(host=host), "log": str(log)})
        project.up()
    assert log.read_text().splitlines() == [
        "adopt localhost",
        "apply localhost",
        "remove 127.0.0.1",
        "release 127.0.0.1",
    ]


# Commands on other machines that are deleted before a resource, as an etcd membership before the disk of its node.

MEMBERS = """
def record(what):
    return f"echo {what} >> {values['log']}"

def recreated(name, *triggers):
    return command.local.Command(f"{name}", create=record(f"{name} created"), delete=record(f"{name} deleted"),
        triggers=triggers, opts=pulumi.ResourceOptions(delete_before_replace=True))

disks = {name: recreated(f"{name}-disk", values["disks"][name]) for name in ("a", "b", "c")}
machines = {name: recreated(f"{name}-machine", disks[name].id, values["memory"]) for name in disks}
for name in disks:
    at = machines["b" if name == "a" else "a"]
    membership = command.local.Command(f"{name}-membership",
        create=pulumi.Output.concat(record(f"{name} joins"), " # VM ", at.id), update="true",
        delete=record(f"{name} leaves"), opts=pulumi.ResourceOptions(depends_on=[machines[name], at], deleted_with=at,
        replace_with=[disks[name]], delete_before_replace=True))
"""


@pytest.fixture
def change_members(tmp_path: Path) -> Callable[..., list[str]]:
    """A function that brings up members with the given disks and memory, and returns what was done in order."""
    project, log = Project(tmp_path / "members"), tmp_path / "log"

    def change(disks: str, memory: int = 1) -> list[str]:
        log.write_text("")
        values = {"log": str(log), "disks": dict(zip("abc", disks, strict=True)), "memory": memory}
        project.write(MEMBERS, values)
        project.up()
        return log.read_text().splitlines()

    assert {"a joins", "b joins", "c joins"} < set(change("111"))
    return change


@pytest.mark.parametrize(("disks", "name"), [("112", "c"), ("211", "a")])
def test_replace_with_disk_deletes_first_and_creates_after(
    change_members: Callable[..., list[str]], disks: str, name: str
) -> None:
    assert change_members(disks) == [
        f"{name} leaves",
        f"{name}-machine deleted",
        f"{name}-disk deleted",
        f"{name}-disk created",
        f"{name}-machine created",
        f"{name} joins",
    ]


def test_replaced_machine_keeps_membership(
    change_members: Callable[..., list[str]],
) -> None:
    done = change_members("111", memory=2)
    assert {"a-machine created", "b-machine created", "c-machine created"} < set(done)
    assert not [action for action in done if action.endswith(("leaves", "joins"))]


def test_replacing_all_disks_creates_members_again(
    change_members: Callable[..., list[str]],
) -> None:
    done = change_members("222")
    for name in "abc":
        assert done.index(f"{name}-disk created") < done.index(f"{name} joins")
