"""`.lab/env` and `.lab/bin`, as a shell uses them."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from host import environment
from host.workspace import Workspace
from system.files import CHECKOUT
from system.processes import Process
from tests.support.fake_programs import put

PRIVATE = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Return a checkout whose path has characters that are special to a shell."""
    checkout = tmp_path / "my lab's $HOME at 100%"
    checkout.mkdir()
    return Workspace(checkout)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def written(workspace: Workspace, *, private: bool = False) -> Workspace:
    text = environment.render(workspace, "dev", "qemu")
    environment.write(workspace, text, {"pulumi": Path("/bin/echo"), "kubectl": Path("/bin/true")}, private)
    return workspace


def sourced(
    workspace: Workspace, home: Path, own: Mapping[str, str] | None = None, times: int = 1
) -> Mapping[str, str]:
    """Return the environment of a shell that sourced `.lab/env`, starting from the variables `own`."""
    script = '. "$0"; ' * times + "exec env -0"
    command = ["sh", "-eu", "-c", script, str(workspace.env)]
    start = {"HOME": str(home), "PATH": "/usr/bin:/bin", **(own or {})}
    output = subprocess.run(command, env=start, check=True, capture_output=True, text=True).stdout
    return dict(entry.split("=", 1) for entry in output.split("\0") if entry)


def test_special_characters_in_paths_survive(workspace: Workspace, home: Path) -> None:
    variables = sourced(written(workspace), home)
    assert variables["PULUMI_HOME"] == str(workspace.pulumi_home)
    assert variables["PULUMI_BACKEND_URL"] == workspace.state.as_uri()
    assert variables["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(workspace.passphrase)
    assert variables["KUBECONFIG"] == str(workspace.kubeconfig("dev"))
    assert variables["PATH"] == f"{workspace.bin}:/usr/bin:/bin"


def test_sourcing_twice_is_the_same_as_once(workspace: Workspace, home: Path) -> None:
    assert sourced(written(workspace), home, times=2) == sourced(workspace, home)


def test_nothing_of_another_checkout_stays(workspace: Workspace, home: Path, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "another [lab's] 100%")
    other.checkout.mkdir()
    assert sourced(written(workspace), home, sourced(written(other), home)) == sourced(workspace, home)


def test_the_latest_checkout_is_first_on_path(workspace: Workspace, home: Path, tmp_path: Path) -> None:
    other = Workspace(tmp_path / "other")
    other.checkout.mkdir()
    between = sourced(written(other), home, sourced(written(workspace), home))
    assert sourced(workspace, home, between)["PATH"] == f"{workspace.bin}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("name", "value", "untouched"),
    [
        ("PULUMI_BACKEND_URL", "file:///elsewhere", ("PULUMI_BACKEND_URL",)),
        ("PULUMI_HOME", "/elsewhere", ("PULUMI_HOME",)),
        ("PULUMI_CONFIG_PASSPHRASE", "own", ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")),
        ("PULUMI_CONFIG_PASSPHRASE", "", ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")),
        ("PULUMI_CONFIG_PASSPHRASE_FILE", "/own", ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")),
        ("PULUMI_ACCESS_TOKEN", "token", ("PULUMI_ACCESS_TOKEN", "PULUMI_BACKEND_URL", "PULUMI_HOME")),
    ],
)
def test_the_users_own_settings_stay(
    workspace: Workspace, home: Path, name: str, value: str, untouched: tuple[str, ...]
) -> None:
    variables = sourced(written(workspace), home, {name: value})
    assert {key: variables.get(key) for key in untouched} == {key: value if key == name else None for key in untouched}


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, PRIVATE),
        ({"NO_PROXY": "corp.example"}, f"corp.example,{PRIVATE}"),
        ({"no_proxy": "corp.example"}, f"corp.example,{PRIVATE}"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_the_lab_bypasses_the_users_proxy(
    workspace: Workspace, home: Path, own: Mapping[str, str], expected: str
) -> None:
    variables = sourced(written(workspace), home, {"HTTPS_PROXY": "http://proxy.example:3128", **own}, times=2)
    assert variables["NO_PROXY"] == variables["no_proxy"] == expected
    assert variables["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_a_logged_in_user_keeps_backend_and_plugins(workspace: Workspace, home: Path) -> None:
    (home / ".pulumi").mkdir()
    (home / ".pulumi/credentials.json").write_text('{\n  "current": "s3://bucket"\n}')
    variables = sourced(written(workspace), home)
    assert "PULUMI_BACKEND_URL" not in variables
    assert "PULUMI_HOME" not in variables


def test_a_logged_out_user_gets_the_labs_backend(workspace: Workspace, home: Path) -> None:
    (home / ".pulumi").mkdir()
    (home / ".pulumi/credentials.json").write_text('{"current": ""}')
    assert sourced(written(workspace), home)["PULUMI_BACKEND_URL"] == workspace.state.as_uri()


def test_a_login_with_the_labs_pulumi_holds(workspace: Workspace, home: Path) -> None:
    before = sourced(written(workspace), home)
    workspace.pulumi_home.mkdir(parents=True)
    (workspace.pulumi_home / "credentials.json").write_text('{"current": "gs://bucket"}')
    after = sourced(workspace, home, {key: value for key, value in before.items() if key.startswith("PULUMI_")})
    assert "PULUMI_BACKEND_URL" not in after
    assert after["PULUMI_HOME"] == str(workspace.pulumi_home)


SHARED = "postgres://me:p%40ss@db.example/pulumi?sslmode=require"


def recorded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, **own: str) -> bool:
    """Prepare a checkout with the user's own variables. Return True if the record of its backend has changed."""
    workspace.lab.mkdir(exist_ok=True)
    for name in ("BACKEND_URL", "CONFIG_PASSPHRASE", "CONFIG_PASSPHRASE_FILE", "ACCESS_TOKEN"):
        monkeypatch.delenv(f"PULUMI_{name}", raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    changed = environment.record_backend(workspace)
    for name in own:
        monkeypatch.delenv(name)
    written(workspace)
    return changed


def test_a_named_backend_is_recorded(workspace: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(workspace, monkeypatch, PULUMI_BACKEND_URL=SHARED, PULUMI_CONFIG_PASSPHRASE="known to all")
    assert not recorded(workspace, monkeypatch)
    variables = sourced(workspace, home, times=2)
    assert variables["PULUMI_BACKEND_URL"] == SHARED
    assert Path(variables["PULUMI_CONFIG_PASSPHRASE_FILE"]).read_text() == "known to all"
    assert environment.shared_backend(workspace) == SHARED
    assert not environment.keeps_state(workspace)


def test_a_recorded_backend_wins_over_a_login(
    workspace: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".pulumi").mkdir()
    (home / ".pulumi/credentials.json").write_text('{"current": "https://api.pulumi.com"}')
    recorded(workspace, monkeypatch, PULUMI_BACKEND_URL=SHARED)
    assert sourced(workspace, home)["PULUMI_BACKEND_URL"] == SHARED
    assert sourced(workspace, home, {"PULUMI_BACKEND_URL": "s3://own"})["PULUMI_BACKEND_URL"] == "s3://own"


def test_only_the_user_can_read_the_recorded_backend(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded(workspace, monkeypatch, PULUMI_BACKEND_URL=SHARED, PULUMI_CONFIG_PASSPHRASE="known to all")
    holding = [path for path in workspace.lab.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert holding
    assert not [path for path in holding if "p%40ss" in path.read_text() or "known to all" in path.read_text()]
    assert environment.without_credentials(SHARED) == "postgres://db.example/pulumi"


def test_nothing_of_a_shared_checkout_stays(
    workspace: Workspace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(workspace, monkeypatch, PULUMI_BACKEND_URL=SHARED, PULUMI_CONFIG_PASSPHRASE="known to all")
    other = Workspace(tmp_path / "other")
    other.checkout.mkdir()
    assert sourced(written(other), home, sourced(workspace, home)) == sourced(other, home)


def test_the_environment_of_a_checkout_is_not_recorded(
    workspace: Workspace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lab's own", "shared"):
        other = Workspace(tmp_path / name)
        other.checkout.mkdir()
        recorded(other, monkeypatch, **({"PULUMI_BACKEND_URL": SHARED} if name == "shared" else {}))
        variables = sourced(other, home)
        inherited = {key: value for key, value in variables.items() if key.startswith(("PULUMI", "HARDWAY"))}
        assert not recorded(workspace, monkeypatch, **inherited)
        assert recorded(workspace, monkeypatch, **inherited, PULUMI_CONFIG_PASSPHRASE="x") == (name == "shared")


def test_another_passphrase_replaces_the_recorded_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not recorded(workspace, monkeypatch, PULUMI_CONFIG_PASSPHRASE="for something else")
    given = workspace.checkout / "given"
    given.write_text("wrong")
    recorded(workspace, monkeypatch, PULUMI_BACKEND_URL=SHARED, PULUMI_CONFIG_PASSPHRASE_FILE=str(given))
    assert workspace.backend_passphrase.read_text() == "wrong"
    assert recorded(workspace, monkeypatch, PULUMI_CONFIG_PASSPHRASE="right")
    assert workspace.backend_passphrase.read_text() == "right"
    recorded(workspace, monkeypatch, PULUMI_BACKEND_URL="s3://another")
    assert not workspace.backend_passphrase.exists()


def test_the_passphrase_is_created_once_and_private(workspace: Workspace) -> None:
    first = written(workspace).passphrase.read_text()
    assert len(first.strip()) >= 32
    assert stat.S_IMODE(workspace.passphrase.stat().st_mode) == 0o600
    assert written(workspace).passphrase.read_text() == first


def test_commands_enter_nothing_with_the_systems_libvirtd(workspace: Workspace) -> None:
    written(workspace)
    assert "enter.sh" not in "".join(program.read_text() for program in workspace.bin.iterdir())
    output = subprocess.run(
        [workspace.bin / "in-lab", "echo", "a b"], check=True, capture_output=True, text=True
    ).stdout
    assert output == "a b\n"


def test_a_command_inside_runs_directly(workspace: Workspace) -> None:
    written(workspace, private=True)
    inside = {**os.environ, "HARDWAY_NAMESPACE": f"{workspace.hypervisor}/outside"}
    command = [str(workspace.bin / "pulumi"), "a b", "$c"]
    assert subprocess.run(command, env=inside, check=True, capture_output=True, text=True).stdout == "a b $c\n"


def test_a_command_inside_another_lab_enters_its_own(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(workspace, private=True)
    workspace.hypervisor.mkdir()
    (workspace.hypervisor / "holder").write_text(str(Process.of(os.getpid())))
    put(tmp_path, "id", "echo 0")
    put(tmp_path, "nsenter", 'echo "nsenter $2"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("HARDWAY_NAMESPACE", "/another/lab/hypervisor/outside")
    output = subprocess.run([workspace.bin / "pulumi"], check=True, capture_output=True, text=True).stdout
    assert output == f"nsenter {os.getpid()}\n"


def test_a_missing_private_libvirt_is_named(workspace: Workspace, tmp_path: Path) -> None:
    put(tmp_path, "python", "exit 0")
    command = [str(CHECKOUT / "host/libvirt/enter.sh"), str(workspace.hypervisor), str(tmp_path / "python")]
    result = subprocess.run([*command, "true"], capture_output=True, text=True)
    assert result.returncode == 1
    assert f"the private libvirt in {workspace.hypervisor} has ended, or" in result.stderr


def test_commands_follow_a_change_of_libvirt(workspace: Workspace) -> None:
    for private in (True, False, True):
        written(workspace, private=private)
        assert ("enter.sh" in (workspace.bin / "pulumi").read_text()) == private


def test_obsolete_commands_are_deleted(workspace: Workspace) -> None:
    written(workspace)
    (workspace.bin / "stale").symlink_to("/bin/true")
    written(workspace)
    assert sorted(entry.name for entry in workspace.bin.iterdir()) == ["hardway", "in-lab", "kubectl", "pulumi"]


def test_a_labs_command_is_not_the_program_itself(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = tmp_path / "virsh"
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    environment.write(workspace, "", {"virsh": real}, private=True)
    monkeypatch.setenv("PATH", f"{workspace.bin}:{tmp_path}")
    assert environment.program("virsh") == real


def test_hardway_runs_from_every_folder(workspace: Workspace, tmp_path: Path) -> None:
    written(workspace)
    # A module of the same name in the current folder must not win.
    (tmp_path / "json.py").write_text("raise SystemExit('wrong json')")
    result = subprocess.run(
        [workspace.bin / "hardway", "no-such-command"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "no-such-command" in result.stderr
