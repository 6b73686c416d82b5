"""The command line of the SSH client, and root by sudo."""

import subprocess
from pathlib import Path

import pytest

from host.access import ssh

LOGIN = ssh.Login(address="192.168.9.9", key="its key\n", host_key="ssh-ed25519 AAAA", user="debian", port=2222)


def test_the_host_key_belongs_to_the_port(tmp_path: Path) -> None:
    command = ssh.command(tmp_path, LOGIN)
    target = command.index("debian@192.168.9.9")
    shown = subprocess.run([*command[:target], "-G", command[target]], check=True, capture_output=True, text=True)
    assert {"port 2222", "user debian", "stricthostkeychecking true"} <= set(shown.stdout.splitlines())
    assert (tmp_path / "known_hosts").read_text() == "[192.168.9.9]:2222 ssh-ed25519 AAAA\n"


def test_commands_of_a_user_run_as_root(tmp_path: Path) -> None:
    assert ssh.command(tmp_path, LOGIN)[-3:] == ["debian@192.168.9.9", "sudo", "--non-interactive"]
    root = ssh.Login(address="10.240.0.20", key="", host_key="")
    assert ssh.command(tmp_path, root)[-1] == "root@10.240.0.20"


@pytest.mark.parametrize("user", ["root", "debian"])
def test_a_script_works_the_same_for_every_user(tmp_path: Path, user: str) -> None:
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nshift\nexec "$@"\n')
    sudo.chmod(0o755)
    script = 'cat | tr a-z A-Z && printf "%s|" \'two words\' "it\'s"'
    result = subprocess.run(
        ["sh", "-c", ssh.as_root(user, script)],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        input="text ",
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "TEXT two words|it's|"
