"""A stack file with the real engine and Git: `git status` does not show what the engine writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from host.engine import stack_file
from system.files import CHECKOUT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a checkout with the project files that the engine and Git read here."""
    folder = tmp_path / "my lab's checkout at 100%"
    folder.mkdir()
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", ".gitattributes", ".gitignore"):
        shutil.copy(CHECKOUT / name, folder)
    # A lab that is up in this checkout has written its salts.
    stack_file.forget_salts(folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=n", "-c", "user.email=e", "commit", "--quiet", "--message=all")
    stack_file.set_up_filter(folder)
    return folder


def git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pulumi(checkout: Path, *arguments: str) -> str:
    state = checkout / ".lab/state"
    state.mkdir(parents=True, exist_ok=True)
    own = {
        "PULUMI_HOME": str(checkout / ".lab/pulumi"),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "of this test",
    }
    command = ["pulumi", *arguments]
    result = subprocess.run(command, cwd=checkout, env={**os.environ, **own}, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_creating_a_stack_leaves_the_checkout_clean(checkout: Path) -> None:
    file = checkout / "Pulumi.dev.yaml"
    before = file.read_text()
    with stack_file.text_kept(file):
        pulumi(checkout, "stack", "select", "--create", "dev")
    stack_file.tell_git(file)
    added = set(file.read_text().splitlines()) - set(before.splitlines())
    assert [line.split(":")[0] for line in added] == ["encryptionsalt"]
    assert git(checkout, "status", "--porcelain") == ""


def test_engine_writes_nothing_into_a_restored_file(checkout: Path) -> None:
    file = checkout / "Pulumi.dev.yaml"
    with stack_file.text_kept(file):
        pulumi(checkout, "stack", "select", "--create", "dev")
    with_salt = file.read_text()
    git(checkout, "checkout", "--quiet", "Pulumi.dev.yaml")
    assert file.read_text() != with_salt
    stack_file.restore_salts(checkout, checkout / ".lab/state/.pulumi/stacks/hardway")
    assert file.read_text() == with_salt
    pulumi(checkout, "destroy", "--stack", "dev", "--yes", "--skip-preview", "--non-interactive")
    assert file.read_text() == with_salt
    assert git(checkout, "status", "--porcelain") == ""


def test_the_engine_uses_the_kept_salt(checkout: Path) -> None:
    with stack_file.text_kept(checkout / "Pulumi.dev.yaml"):
        pulumi(checkout, "stack", "select", "--create", "dev")
    pulumi(checkout, "config", "set", "--secret", "hardway:token", "a secret value")
    assert pulumi(checkout, "config", "get", "hardway:token").strip() == "a secret value"
    assert "a secret value" not in (checkout / "Pulumi.dev.yaml").read_text()


def test_git_shows_changed_values_without_the_salt(checkout: Path) -> None:
    with stack_file.text_kept(checkout / "Pulumi.dev.yaml"):
        pulumi(checkout, "stack", "select", "--create", "dev")
    pulumi(checkout, "config", "set", "hardway:clusterDomain", "lab.local")
    diff = git(checkout, "diff")
    assert "+  hardway:clusterDomain: lab.local" in diff
    assert "encryptionsalt" not in diff
