"""The command lines of pulumi, kubectl, ssh and virsh, and the errors after their failures."""

import json
from pathlib import Path

import pytest

from host.access.ssh import Login
from ops.clients import CommandError, Commands
from tests.support.fake_programs import put

LOGIN = Login(address="10.0.0.20", key="private key\n", host_key="ssh-ed25519 key")


def test_ssh_leaves_no_keys_behind(programs: Path) -> None:
    put(
        programs,
        "ssh",
        f"""echo "$@" >{programs}/called
for option; do case $option in
  -oIdentityFile=*) stat -c %a "${{option#*=}}"; cat "${{option#*=}}"; echo "${{option#*=}}" >{programs}/key ;;
  -oUserKnownHostsFile=*) cat "${{option#*=}}" ;;
esac; done""",
    )
    assert Commands().report(LOGIN) == "600\nprivate key\n10.0.0.20 ssh-ed25519 key\n"
    assert (programs / "called").read_text().endswith("root@10.0.0.20 /usr/local/lib/hardway/verify-node\n")
    assert "private key" not in (programs / "called").read_text()
    assert not Path((programs / "key").read_text().strip()).exists()


def test_last_line_of_a_program_is_the_reason(programs: Path) -> None:
    put(programs, "ssh", "echo '@@@@@' >&2; echo 'Host key verification failed.' >&2; exit 255")
    with pytest.raises(CommandError, match=r"^Host key verification failed\.$"):
        Commands().report(LOGIN)


def test_silent_failure_names_the_exit_code(programs: Path) -> None:
    put(programs, "ssh", "exit 3")
    with pytest.raises(CommandError, match=r"^ssh ended with exit code 3$"):
        Commands().report(LOGIN)


def test_node_without_the_program_needs_an_up(programs: Path) -> None:
    put(programs, "ssh", "echo 'bash: line 1: /usr/local/lib/hardway/verify-node: No such file' >&2; exit 127")
    with pytest.raises(CommandError, match="run `hardway up` first"):
        Commands().report(LOGIN)


def test_engine_error_loses_its_prefix(programs: Path) -> None:
    put(programs, "pulumi", "echo \"error: no stack named 'dev' found\" >&2; exit 255")
    with pytest.raises(CommandError, match=r"^no stack named 'dev' found$"):
        Commands().outputs("dev")


def test_standard_output_is_never_quoted(programs: Path) -> None:
    put(programs, "pulumi", "echo secret; exit 1")
    with pytest.raises(CommandError) as error:
        Commands().outputs("dev")
    assert "secret" not in str(error.value)


def test_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="pulumi is not on PATH"):
        Commands().outputs("dev")


def test_kubectl_uses_the_kubeconfig_of_the_stack(programs: Path) -> None:
    put(programs, "kubectl", f"""cp "$2" {programs}/used; echo "$2" >{programs}/path; echo '{{"items": []}}'""")
    assert Commands().nodes("kubeconfig of the stack") == {"items": []}
    assert (programs / "used").read_text() == "kubeconfig of the stack"
    assert not Path((programs / "path").read_text().strip()).exists()


def test_without_administrator_kubectl_does_not_run(programs: Path) -> None:
    put(programs, "kubectl", f"touch {programs}/called")
    with pytest.raises(CommandError, match="no administrator's kubeconfig"):
        Commands().nodes(None)
    assert not (programs / "called").exists()


def test_other_output_than_json_is_an_error(programs: Path) -> None:
    put(programs, "pulumi", "echo Welcome")
    with pytest.raises(CommandError, match=r"^pulumi printed no JSON document$"):
        Commands().outputs("dev")


def test_slow_program_is_given_up(programs: Path) -> None:
    put(programs, "ssh", "exec sleep 60")
    with pytest.raises(CommandError, match=r"^ssh had no answer after 0\.1 s$"):
        Commands().run(LOGIN, ["true"], timeout=0.1)


def test_script_is_sent_through_standard_input(programs: Path) -> None:
    put(programs, "ssh", f'echo "$@" >{programs}/called; cat')
    assert Commands().run(LOGIN, ["bash", "-s"], stdin="the script") == "the script"
    assert (programs / "called").read_text().endswith("root@10.0.0.20 bash -s\n")


def test_api_version(programs: Path) -> None:
    put(programs, "kubectl", """case $* in *--raw*) echo '{"gitVersion": "v1.37.2"}' ;; esac""")
    assert Commands().api_version("kubeconfig").release == "v1.37.2"


def test_deprecated_apis(programs: Path) -> None:
    labels = 'group="apps",removed_release="1.38",resource="scales",subresource="",version="v1beta1"'
    put(
        programs, "kubectl", f"""case $* in *--raw*) echo 'apiserver_requested_deprecated_apis{{{labels}}} 1' ;; esac"""
    )
    assert list(map(str, Commands().deprecated_apis("kubeconfig"))) == ["apps/v1beta1 scales, which v1.38 removes"]


def test_vm_state(programs: Path) -> None:
    put(programs, "virsh", f'echo "$LC_ALL $*" >{programs}/called; printf "shut off\\n\\n"')
    assert Commands().vm_state("qemu:///system", "hardway-node-0") == "shut off"
    assert (programs / "called").read_text() == "C --connect qemu:///system domstate hardway-node-0\n"


def test_missing_virsh_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "env").symlink_to("/usr/bin/env")
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(CommandError, match=r"^virsh is not on PATH$"):
        Commands().vm_state("qemu:///system", "hardway-node-0")


def test_preview_leaves_the_limit_to_the_caller(programs: Path) -> None:
    put(programs, "pulumi", 'echo "{\\"steps\\": [\\"$HARDWAY_LIMIT_CHECKED $*\\"]}"')
    [called] = Commands().preview("dev")["steps"]
    assert called == "1 preview --stack dev --json --non-interactive --skip-config-validation"
    [called] = Commands().preview("dev", ["urn:a", "urn:b"])["steps"]
    assert called.endswith(" --replace urn:a --replace urn:b")


def test_errors_of_a_preview_are_those_in_its_document(programs: Path) -> None:
    messages = [
        {"severity": "info", "message": "kubelet on node-1 will restart"},
        {"severity": "error", "message": "error: hardway:maxPods is an unknown key\n"},
    ]
    (programs / "document").write_text(json.dumps({"steps": [], "diagnostics": messages}))
    put(programs, "pulumi", f"cat {programs}/document; exit 255")
    with pytest.raises(CommandError, match=r"^hardway:maxPods is an unknown key$"):
        Commands().preview("dev")


def test_reason_without_a_document_is_the_last_line(programs: Path) -> None:
    put(programs, "pulumi", "echo \"error: no stack named 'dev' found\" >&2; exit 255")
    with pytest.raises(CommandError, match=r"^no stack named 'dev' found$"):
        Commands().preview("dev")
