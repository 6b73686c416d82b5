"""The packages that a machine needs, and their installation."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from host.machine import packages
from host.machine.packages import Package
from system.errors import HostError
from tests.support.fake_programs import put


def os_release(folder: Path, text: str) -> Path:
    path = folder / "os-release"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("version", "release"), [("12", 12), ("13", 13)])
def test_debian_12_and_13_are_supported(tmp_path: Path, version: str, release: int) -> None:
    path = os_release(tmp_path, f'PRETTY_NAME="Debian GNU/Linux {version}"\nVERSION_ID="{version}"\nID=debian\n')
    assert packages.debian_release(path) == release


@pytest.mark.parametrize(
    "text",
    [
        'PRETTY_NAME="Debian GNU/Linux 11"\nVERSION_ID="11"\nID=debian\n',
        'PRETTY_NAME="Fedora Linux 42"\nVERSION_ID=42\nID=fedora\n',
        "",
    ],
)
def test_other_systems_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(HostError, match=r"(?s)runs .*only on Debian 12 and 13.*install"):
        packages.debian_release(os_release(tmp_path, text))


def test_wanted_packages_depend_on_release_and_systemd() -> None:
    offered = (Package("always", "a"), Package("newer", "b", since=13), Package("service", "c", systemd=True))
    assert packages.needed(offered, 12, False) == {"always": "a"}
    assert packages.needed(offered, 13, False) == {"always": "a", "newer": "b"}
    assert packages.needed(offered, 12, True) == {"always": "a", "service": "c"}


def test_installed_packages_are_not_missing() -> None:
    assert packages.missing(["dpkg", "no-such-package-at-all"]) == ["no-such-package-at-all"]


def test_nothing_runs_if_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def apt_get(*arguments: str) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(packages, "_apt_get", apt_get)
    assert packages.install({"dpkg": "installed"}) == []


def test_each_installed_package_is_named_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(packages, "_apt_get", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(packages, "_POLICY", tmp_path / "policy-rc.d")
    assert packages.install({"dpkg": "installed", "no-such-package-at-all": "a reason"}) == ["no-such-package-at-all"]
    assert "no-such-package-at-all: a reason" in capsys.readouterr().err
    assert [name for call in calls for name in call if not name.startswith("-")] == [
        "update",
        "install",
        "no-such-package-at-all",
    ]


def test_no_service_starts_without_an_init_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    answers: list[int] = []
    monkeypatch.setattr(packages, "_POLICY", policy)
    monkeypatch.setattr(packages, "has_systemd", lambda: False)
    monkeypatch.setattr(packages, "as_root", lambda **_: [])
    monkeypatch.setattr(packages, "_apt_get", lambda *_: answers.append(subprocess.run([policy]).returncode))
    packages.install({"no-such-package-at-all": "a reason"})
    assert set(answers) == {101}  # the exit code that means "not allowed" to invoke-rc.d
    assert not policy.exists()


@pytest.mark.parametrize("left", [False, True], ids=["write", "delete"])
def test_a_refused_sudo_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, left: bool) -> None:
    policy = tmp_path / "policy-rc.d"
    if left:
        policy.write_text(packages._POLICY_TEXT)
    monkeypatch.setattr(packages, "_POLICY", policy)
    monkeypatch.setattr(packages, "has_systemd", lambda: False)
    monkeypatch.setattr(packages, "as_root", lambda **_: ["false"])
    with pytest.raises(HostError, match=f"{policy}.*could not be changed"):
        packages.install({"dpkg" if left else "no-such-package-at-all": "a reason"})


def test_an_existing_policy_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 0\n")
    monkeypatch.setattr(packages, "_POLICY", policy)
    monkeypatch.setattr(packages, "has_systemd", lambda: False)
    monkeypatch.setattr(packages, "_apt_get", lambda *_: None)
    packages.install({"no-such-package-at-all": "a reason"})
    assert policy.read_text() == "#!/bin/sh\nexit 0\n"


def test_a_policy_of_a_killed_run_is_deleted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "_POLICY", policy)
    monkeypatch.setattr(packages, "as_root", lambda **_: [])
    for text, stays in ((packages._POLICY_TEXT, False), ("#!/bin/sh\nexit 0\n", True)):
        policy.write_text(text)
        assert packages.install({"dpkg": "installed"}) == []
        assert policy.exists() == stays


@pytest.fixture
def apt(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of fake programs that record their calls. apt-get refuses while dpkg has a journal."""
    journal = programs / "updates"
    journal.mkdir()
    monkeypatch.setattr(packages, "_DPKG_JOURNAL", journal)
    monkeypatch.setattr(packages, "_POLICY", programs / "policy-rc.d")
    monkeypatch.setattr(packages, "as_root", lambda **_: [])
    put(programs, "dpkg", f'echo "dpkg $*" >>"{programs}/calls"; rm -f "{journal}"/*')
    refusal = f'[ "$1" = update ] || [ -z "$(ls "{journal}")" ] || {{ echo "E: dpkg was interrupted"; exit 100; }}'
    put(programs, "apt-get", f'echo "apt-get $1" >>"{programs}/calls"\n{refusal}')
    return programs


def calls(apt: Path) -> list[str]:
    return (apt / "calls").read_text().splitlines()


def test_an_interrupted_dpkg_is_finished_first(apt: Path) -> None:
    (apt / "updates/0001").touch()
    assert packages.install({"no-such-package-at-all": "a reason"}) == ["no-such-package-at-all"]
    assert calls(apt) == ["apt-get update", "apt-get install", "dpkg --configure --pending", "apt-get install"]


def test_other_failures_of_apt_get_are_reported(apt: Path) -> None:
    put(apt, "apt-get", f'echo "apt-get $1" >>"{apt}/calls"; [ "$1" = update ] || {{ echo "E: Unmet"; exit 100; }}')
    with pytest.raises(HostError, match="apt-get install failed:\nE: Unmet"):
        packages.install({"no-such-package-at-all": "a reason"})
    assert calls(apt) == ["apt-get update", "apt-get install"]


HELD = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 812 (unattended-upgr)"


def test_the_lock_of_another_program_is_awaited(
    apt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "_LOCK_INTERVAL", 0)
    record = f'echo "apt-get $1" >>"{apt}/calls"'
    put(apt, "apt-get", f'{record}; [ "$(wc -l <"{apt}/calls")" -gt 2 ] || {{ echo "{HELD}" >&2; exit 100; }}')
    packages.install({"no-such-package-at-all": "a reason"})
    assert calls(apt) == ["apt-get update"] * 3 + ["apt-get install"]
    assert capsys.readouterr().err.count("held by process 812 (unattended-upgr)") == 1


def test_the_lock_is_awaited_before_an_interrupted_dpkg_is_finished(
    apt: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "_LOCK_INTERVAL", 0)
    (apt / "updates/0001").touch()
    held = "dpkg: error: dpkg frontend lock was locked by another process with pid 812"
    put(apt, "dpkg", f'mkdir {apt}/once && {{ echo "{held}" >&2; exit 2; }}; rm -f {apt}/updates/*')
    packages.install({"no-such-package-at-all": "a reason"})
    assert calls(apt) == ["apt-get update", "apt-get install", "apt-get install"]
    assert "another process with pid 812" in capsys.readouterr().err


def test_a_lock_that_stays_is_reported(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_LOCK_TIMEOUT", -1)
    put(apt, "apt-get", f'echo "{HELD}" >&2; exit 100')
    with pytest.raises(HostError, match="held by process 812"):
        packages.install({"no-such-package-at-all": "a reason"})
