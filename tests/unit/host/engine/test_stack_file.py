"""Stack files keep their text, and Git does not see the salt."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from host.engine import stack_file
from system.files import CHECKOUT
from tests.support.fake_programs import put

TEXT = """\
# The stack.

config:
  hardway:name: a   # with blanks before

  hardway:other: b
"""
SALT = "encryptionsalt: v1:abc=:v1:def:ghi=="
ATTRIBUTES = CHECKOUT / ".gitattributes"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.dev.yaml").write_text(TEXT)
    (tmp_path / ".gitattributes").write_text(ATTRIBUTES.read_text())
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message=all")
    return tmp_path


def git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_salt_does_not_show_as_a_change(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    (checkout / "Pulumi.dev.yaml").write_text(f"{TEXT}{SALT}\n")
    stack_file.tell_git(checkout / "Pulumi.dev.yaml")
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "diff") == ""


def test_other_changes_show_as_usual(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    (checkout / "Pulumi.dev.yaml").write_text(f"{TEXT}  hardway:third: c\n{SALT}\n")
    diff = git(checkout, "diff")
    assert "+  hardway:third: c" in diff
    assert "encryptionsalt" not in diff


def test_other_changes_are_not_staged(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    (checkout / "Pulumi.dev.yaml").write_text(f"{TEXT}  hardway:third: c\n{SALT}\n")
    stack_file.tell_git(checkout / "Pulumi.dev.yaml")
    assert git(checkout, "status", "--porcelain") == " M Pulumi.dev.yaml\n"


def test_an_untracked_file_stays_untracked(checkout: Path) -> None:
    (checkout / "Pulumi.mine.yaml").write_text(SALT)
    stack_file.tell_git(checkout / "Pulumi.mine.yaml")
    assert git(checkout, "status", "--porcelain") == "?? Pulumi.mine.yaml\n"


def test_the_salt_is_not_committed(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    (checkout / "Pulumi.dev.yaml").write_text(f"{TEXT}  hardway:third: c\n{SALT}\n")
    git(checkout, "add", ".")
    assert git(checkout, "show", ":Pulumi.dev.yaml") == f"{TEXT}  hardway:third: c\n"


def test_setting_up_the_filter_again_changes_nothing(checkout: Path) -> None:
    assert stack_file.set_up_filter(checkout)
    before = (checkout / ".git/config").read_text()
    assert not stack_file.set_up_filter(checkout)
    assert (checkout / ".git/config").read_text() == before


def test_without_a_git_checkout_nothing_is_set_up(tmp_path: Path) -> None:
    assert not stack_file.set_up_filter(tmp_path)


@pytest.mark.parametrize("refusal", [None, 'echo "fatal: detected dubious ownership" >&2; exit 128'])
def test_a_missing_or_refusing_git_is_reported(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refusal: str | None
) -> None:
    programs = checkout / "bin"
    programs.mkdir()
    if refusal:
        put(programs, "git", refusal)
    monkeypatch.setenv("PATH", str(programs))
    assert not stack_file.set_up_filter(checkout)
    assert ("dubious ownership" if refusal else "There is no Git") in capsys.readouterr().err
    stack_file.tell_git(checkout / "Pulumi.dev.yaml")


def test_the_text_survives_the_engines_format(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(TEXT)
    with stack_file.text_kept(file):
        file.write_text(f"config:\n  hardway:name: a # with blanks before\n  hardway:other: b\n{SALT}")
    assert file.read_text() == f"{TEXT}{SALT}\n"


def test_a_new_salt_replaces_the_old_one(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"encryptionsalt: v1:old\n{TEXT}")
    with stack_file.text_kept(file):
        file.write_text(f"config: {{}}\n{SALT}\n")
    assert file.read_text() == f"{TEXT}{SALT}\n"


def test_an_unchanged_file_stays_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"{SALT}\n{TEXT}")
    before = file.stat().st_mtime_ns
    with stack_file.text_kept(file):
        pass
    assert (file.read_text(), file.stat().st_mtime_ns) == (f"{SALT}\n{TEXT}", before)


def test_a_new_file_keeps_the_engines_text(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.new.yaml"
    with stack_file.text_kept(file):
        file.write_text(SALT)
    assert file.read_text() == SALT


def test_an_unused_salt_is_removed(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    file = checkout / "Pulumi.dev.yaml"
    file.write_text(f"{TEXT}{SALT}\n")
    stack_file.forget_salts(checkout)
    assert file.read_text() == TEXT
    assert git(checkout, "status", "--porcelain") == ""


def test_a_used_salt_stays(checkout: Path) -> None:
    file = checkout / "Pulumi.dev.yaml"
    file.write_text(text := f"{TEXT}  hardway:key:\n    secure: v1:abc\n{SALT}\n")
    stack_file.forget_salts(checkout)
    assert file.read_text() == text


def test_a_lost_salt_is_restored_from_the_state(checkout: Path, tmp_path: Path) -> None:
    stack_file.set_up_filter(checkout)
    states = tmp_path / "states"
    states.mkdir()
    provider = {"type": "passphrase", "state": {"salt": SALT.removeprefix("encryptionsalt: ")}}
    for name, latest in (("dev", {"secrets_providers": provider}), ("gone", {}), ("new", None), ("cloud", {})):
        (states / f"{name}.json").write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}))
    (states / "dev.json.bak").write_text("{")
    (checkout / "Pulumi.cloud.yaml").write_text(TEXT)
    for _ in range(2):
        stack_file.restore_salts(checkout, states)
        assert (checkout / "Pulumi.dev.yaml").read_text() == f"{TEXT}{SALT}\n"
    assert (checkout / "Pulumi.cloud.yaml").read_text() == TEXT
    assert git(checkout, "status", "--porcelain", "--untracked-files=no") == ""
