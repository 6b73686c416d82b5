"""A stack file keeps its text, and its salt stays out of Git."""

from __future__ import annotations

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


def test_a_change_of_the_users_own_shows_as_usual(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    (checkout / "Pulumi.dev.yaml").write_text(f"{TEXT}  hardway:third: c\n{SALT}\n")
    diff = git(checkout, "diff")
    assert "+  hardway:third: c" in diff
    assert "encryptionsalt" not in diff


def test_a_change_of_the_users_own_is_not_staged(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    (checkout / "Pulumi.dev.yaml").write_text(f"{TEXT}  hardway:third: c\n{SALT}\n")
    stack_file.tell_git(checkout / "Pulumi.dev.yaml")
    assert git(checkout, "status", "--porcelain") == " M Pulumi.dev.yaml\n"


def test_a_file_that_git_does_not_know_stays_unknown(checkout: Path) -> None:
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


def test_where_there_is_no_git_nothing_is_set_up(tmp_path: Path) -> None:
    assert not stack_file.set_up_filter(tmp_path)


@pytest.mark.parametrize("refusal", [None, 'echo "fatal: detected dubious ownership" >&2; exit 128'])
def test_where_git_is_missing_or_refuses_that_is_said_and_no_more(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refusal: str | None
) -> None:
    programs = checkout / "bin"
    programs.mkdir()
    if refusal:
        put(programs, "git", refusal)
    monkeypatch.setenv("PATH", str(programs))
    assert not stack_file.set_up_filter(checkout)
    assert ("dubious ownership" if refusal else "there is no git") in capsys.readouterr().out
    stack_file.tell_git(checkout / "Pulumi.dev.yaml")


def test_the_text_is_kept_when_the_engine_writes_the_file_in_its_own_form(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(TEXT)
    with stack_file.text_kept(file):
        file.write_text(f"config:\n  hardway:name: a # with blanks before\n  hardway:other: b\n{SALT}")
    assert file.read_text() == f"{TEXT}{SALT}\n"


def test_a_new_salt_takes_the_place_of_the_old(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"encryptionsalt: v1:old\n{TEXT}")
    with stack_file.text_kept(file):
        file.write_text(f"config: {{}}\n{SALT}\n")
    assert file.read_text() == f"{TEXT}{SALT}\n"


def test_a_file_that_the_engine_left_alone_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.dev.yaml"
    file.write_text(f"{SALT}\n{TEXT}")
    before = file.stat().st_mtime_ns
    with stack_file.text_kept(file):
        pass
    assert (file.read_text(), file.stat().st_mtime_ns) == (f"{SALT}\n{TEXT}", before)


def test_a_file_that_the_engine_made_is_the_engines(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.new.yaml"
    with stack_file.text_kept(file):
        file.write_text(SALT)
    assert file.read_text() == SALT


def test_the_salt_of_a_lost_passphrase_is_forgotten(checkout: Path) -> None:
    stack_file.set_up_filter(checkout)
    file = checkout / "Pulumi.dev.yaml"
    file.write_text(f"{TEXT}{SALT}\n")
    stack_file.forget_salts(checkout)
    assert file.read_text() == TEXT
    assert git(checkout, "status", "--porcelain") == ""


def test_the_salt_stays_while_a_value_is_encrypted_by_it(checkout: Path) -> None:
    file = checkout / "Pulumi.dev.yaml"
    file.write_text(text := f"{TEXT}  hardway:key:\n    secure: v1:abc\n{SALT}\n")
    stack_file.forget_salts(checkout)
    assert file.read_text() == text
