"""How the programs that `python3 -m ops.verify` asks are called, and what becomes of their errors."""

from pathlib import Path

import pytest

from host.access.ssh import Login
from ops.clients import CommandError, Commands
from tests.support.fake_programs import put

LOGIN = Login(address="10.0.0.20", key="private key\n", host_key="ssh-ed25519 key")


def test_a_node_is_asked_with_its_key_and_its_host_key_and_neither_stays(programs: Path) -> None:
    put(
        programs,
        "ssh",
        f"""echo "$@" >{programs}/asked
for option; do case $option in
  -oIdentityFile=*) stat -c %a "${{option#*=}}"; cat "${{option#*=}}"; echo "${{option#*=}}" >{programs}/key ;;
  -oUserKnownHostsFile=*) cat "${{option#*=}}" ;;
esac; done""",
    )
    assert Commands().report(LOGIN) == "600\nprivate key\n10.0.0.20 ssh-ed25519 key\n"
    assert (programs / "asked").read_text().endswith("root@10.0.0.20 /usr/local/lib/hardway/verify-node\n")
    assert "private key" not in (programs / "asked").read_text()
    assert not Path((programs / "key").read_text().strip()).exists()


def test_the_last_words_of_a_program_are_the_reason(programs: Path) -> None:
    put(programs, "ssh", "echo '@@@@@' >&2; echo 'Host key verification failed.' >&2; exit 255")
    with pytest.raises(CommandError, match=r"^Host key verification failed\.$"):
        Commands().report(LOGIN)


def test_a_program_without_last_words_is_told_by_its_exit_code(programs: Path) -> None:
    put(programs, "ssh", "exit 3")
    with pytest.raises(CommandError, match=r"^ssh ended with exit code 3$"):
        Commands().report(LOGIN)


def test_a_node_without_the_program_needs_an_up(programs: Path) -> None:
    put(programs, "ssh", "echo 'bash: line 1: /usr/local/lib/hardway/verify-node: No such file' >&2; exit 127")
    with pytest.raises(CommandError, match="run pulumi up first"):
        Commands().report(LOGIN)


def test_a_reason_of_the_engine_comes_without_its_prefix(programs: Path) -> None:
    put(programs, "pulumi", "echo \"error: no stack named 'dev' found\" >&2; exit 255")
    with pytest.raises(CommandError, match=r"^no stack named 'dev' found$"):
        Commands().outputs("dev")


def test_what_a_failing_program_printed_is_not_told(programs: Path) -> None:
    put(programs, "pulumi", "echo secret; exit 1")
    with pytest.raises(CommandError) as error:
        Commands().outputs("dev")
    assert "secret" not in str(error.value)


def test_a_program_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="pulumi is not on PATH"):
        Commands().outputs("dev")


def test_the_api_server_is_asked_by_the_kubeconfig_of_the_stack(programs: Path) -> None:
    put(programs, "kubectl", f"""cp "$2" {programs}/used; echo "$2" >{programs}/path; echo '{{"items": []}}'""")
    assert Commands().nodes("kubeconfig of the stack") == {"items": []}
    assert (programs / "used").read_text() == "kubeconfig of the stack"
    assert not Path((programs / "path").read_text().strip()).exists()


def test_without_an_administrator_the_api_server_is_not_asked(programs: Path) -> None:
    put(programs, "kubectl", f"touch {programs}/asked")
    with pytest.raises(CommandError, match="no administrator's kubeconfig"):
        Commands().nodes(None)
    assert not (programs / "asked").exists()
