"""The engine runs for a stack in the lab's environment, and ends by itself."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from host import environment
from host.engine.stack import EXISTING_MACHINES, Stack, deployed, locations
from host.libvirt.private import BOOT_VARIABLE as BOOT
from host.workspace import Workspace
from system import console
from system.errors import HostError
from system.files import CHECKOUT
from system.processes import boot_id
from tests.support.fake_programs import put

# An engine that takes a while to write its state after a signal.
SLOW_TO_STOP = """\
#!/bin/sh
[ "$1" = preview ] || exit 0
trap 'sleep 1; echo state written; exit 1' INT TERM
echo running
while :; do sleep 0.05; done
"""


def prepared(checkout: Path, engine: str, *, private: bool = False) -> Workspace:
    """Return a prepared checkout with a fake engine."""
    workspace = Workspace(checkout)
    program = checkout / "engine"
    program.write_text(engine)
    program.chmod(0o755)
    environment.write(workspace, environment.render(workspace, "dev", "qemu"), {"pulumi": program}, private)
    return workspace


def test_an_unprepared_machine_is_reported(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="make prepare"):
        Stack(Workspace(tmp_path), "dev")


def test_only_stacks_with_resources_are_deployed(tmp_path: Path) -> None:
    listed = '[{"name": "dev", "resourceCount": 3}, {"name": "empty", "resourceCount": 0}, {"name": "new"}]'
    assert deployed(prepared(tmp_path, f"#!/bin/sh\necho '{listed}'\n")) == ["dev"]


NODE = {"role": "worker", "kubernetesVersion": "v1.37.2", "ssh": "ssh"}
NODES = {name: {**NODE, "address": f"10.0.0.{last}", "podCidr": "10.1.0.0/24"} for last, name in enumerate(("a", "b"))}
OUTPUTS = {
    "apiEndpoint": "https://10.0.0.9:6443",
    "certificateAuthority": "",
    "services": {},
    "kubeconfig": "secret",
    "sshKey": "secret",
    "knownHosts": "",
    "nodes": {**NODES, "c": {**NODE, "address": "10.0.0.9"}},
}


def bring_up(checkout: Path, kubectl: str, outputs: Mapping[str, Any] = OUTPUTS) -> None:
    """Bring up a stack without changes, with a shell program as kubectl."""
    answers = f"*output*) echo '{json.dumps(outputs)}' ;; *export*) echo '{{}}' ;;"
    workspace = prepared(checkout, f'#!/bin/sh\ncase "$*" in {answers} esac\n')
    program = workspace.bin / "kubectl"
    program.write_text(f"#!/bin/sh\n{kubectl}\n")
    program.chmod(0o755)
    Stack(workspace, "dev").up()


def shared(checkout: Path, monkeypatch: pytest.MonkeyPatch, *resources: Mapping[str, Any]) -> Workspace:
    """Return a checkout of a stack in a bucket, which has no outputs. The engine records its calls."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://team")
    state = json.dumps({"deployment": {"resources": resources}})
    answers = f"*output*) echo '{{}}' ;; *export*) echo '{state}' ;; *ls*) echo '[{SHARED}]' ;;"
    workspace = prepared(checkout, f'#!/bin/sh\necho "$*" >>{checkout}/calls\ncase "$*" in {answers} esac\n')
    put(workspace.bin, "virsh", "echo other")
    workspace.access("dev").mkdir(parents=True)
    (workspace.access("dev") / "ssh_config").write_text("Host node-0\n")
    return workspace


SHARED = '{"name": "dev", "resourceCount": 3}'
NETWORK = {"urn": "network", "id": "1", "type": "libvirt:index/network:Network", "inputs": {"name": "lab"}}


def test_stack_whose_vms_are_elsewhere_is_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(shared(tmp_path, monkeypatch, NETWORK), "dev")
    for command in (stack.up, stack.destroy):
        with pytest.raises(HostError, match="Network lab of stack dev is not in the libvirt that"):
            command()
    assert not re.search("^(up|destroy|refresh)", (tmp_path / "calls").read_text(), re.MULTILINE)


def test_files_of_a_stack_that_another_checkout_deleted_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = shared(tmp_path, monkeypatch)
    Stack(workspace, "dev").select()
    assert not workspace.access("dev").exists()


def node_list(**ready: str) -> str:
    """Return kubectl's output about nodes, with their Ready conditions."""
    items = [
        {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}}
        for name, status in ready.items()
    ]
    return json.dumps({"items": items})


def test_up_waits_until_nodes_are_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("host.engine.waits._POLL_INTERVAL", 0)
    kubectl = f"""
case "$*" in *wide*) echo the table; exit ;; esac
echo call >>calls
case $(wc -l <calls) in
    1) echo no route to host >&2; exit 1 ;;
    2) echo '{node_list(a="True", b="Unknown", other="False")}' ;;
    *) echo '{node_list(a="True", b="True", other="False")}' ;;
esac"""
    bring_up(tmp_path, kubectl)
    printed = capfd.readouterr()
    assert re.findall(r"waiting up to \d+ s: (.*)", printed.err) == [
        "API server https://10.0.0.9:6443 does not answer (no route to host)",
        "b is not Ready (b: its kubelet has not reported a reason)",
    ]
    assert "the table\n" in printed.out
    assert (tmp_path / "calls").read_text() == "call\n" * 3


def test_up_needs_no_rights_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.engine.waits._TIMEOUT", -1)
    kubectl = f"""
case "$(cat "$2")" in secret) ;; *) echo forbidden >&2; exit 1 ;; esac
echo "$2" >>used
echo '{node_list(a="True", b="True")}'"""
    bring_up(tmp_path, kubectl)
    used = (tmp_path / "used").read_text().splitlines()
    assert len(used) == 2
    assert not any(Path(file).exists() for file in used)


def test_up_names_the_node_that_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.engine.waits._TIMEOUT", -1)
    with pytest.raises(HostError, match=r"^b is not Ready after .* \(b: its kubelet .*\)\. .*hardway verify"):
        bring_up(tmp_path, f"echo '{node_list(a='True', b='False')}'")


def test_up_names_the_api_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.engine.waits._TIMEOUT", -1)
    kubectl = (
        "printf 'E1128 memcache.go:265] not found\nUnable to connect to the server: no route to host\n' >&2; exit 1"
    )
    expected = r"^API server https://10\.0\.0\.9:6443 does not answer .* \(Unable .* host\)\. .*hardway status"
    with pytest.raises(HostError, match=expected):
        bring_up(tmp_path, kubectl)


def test_up_names_the_node_that_is_not_in_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.engine.waits._TIMEOUT", -1)
    with pytest.raises(HostError, match=r"\(b: is not in the cluster\)"):
        bring_up(tmp_path, f"echo '{node_list(a='True')}'")


def test_up_waits_for_no_cni_plugin_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.engine.waits._TIMEOUT", -1)
    nodes = json.loads(node_list(a="True", b="False"))
    nodes["items"][1]["status"]["conditions"][0]["message"] = "container runtime network not ready: no plugin"
    kubectl = f"echo '{json.dumps(nodes)}'"
    with pytest.raises(
        HostError, match=r"^b is not Ready after .* \(b: container runtime network not ready: no plugin\)"
    ):
        bring_up(tmp_path, kubectl)
    bring_up(tmp_path, kubectl, OUTPUTS | {"podNetwork": "none"})


RENEWED = """\
case "$*" in
    *leases*)
        echo call >>calls
        when=$(test $(wc -l <calls) -gt 1 && echo 2000-01-01T00:00:10 || echo 1999-12-31T23:59:00)
        echo '{"items": [{"metadata": {"name": "a"}, "spec": {"renewTime": "'$when'.000000Z"}},
            {"metadata": {"name": "b"}, "spec": {"renewTime": "2000-01-01T00:00:10.000000Z"}}]}' ;;
    *) echo '%s' ;;
esac"""


def test_stopped_nodes_are_back_with_their_clocks_and_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("host.engine.waits._POLL_INTERVAL", 0)
    workspace = prepared(tmp_path, f"#!/bin/sh\ncase \"$*\" in *output*) echo '{json.dumps(OUTPUTS)}' ;; esac\n")
    put(workspace.bin, "kubectl", RENEWED % node_list(a="True", b="True"))
    # Node a is behind at first.
    put(tmp_path, "ssh", f"if [ $5 = a ] && mkdir {tmp_path}/told 2>/dev/null; then echo 5.5; else date +%s.%N; fi")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    Stack(workspace, "dev").wait_until_awake(since=datetime(2000, 1, 1, tzinfo=UTC).timestamp())
    first, second = re.findall(r"waiting up to \d+ s: (.*)", capfd.readouterr().err)
    assert re.fullmatch(r"the clock is wrong: a \(a: -\d+ s\)", first)
    assert second.startswith("no new report of the kubelet: a (")


def test_node_that_does_not_tell_its_time_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host.engine.waits._TIMEOUT", -1)
    workspace = prepared(tmp_path, f"#!/bin/sh\ncase \"$*\" in *output*) echo '{json.dumps(OUTPUTS)}' ;; esac\n")
    put(tmp_path, "ssh", "test $5 != b && date +%s.%N")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(HostError, match=r"^no answer over SSH: b after"):
        Stack(workspace, "dev").wait_for_clocks()


@pytest.mark.parametrize(("boot", "targets"), [("earlier", "--target=urn::routes"), (None, "")])
def test_lost_network_of_the_machine_is_created_again(
    boot: str | None, targets: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    resources = [
        {"urn": "urn::routes", "inputs": {"environment": {"HARDWAY_BOOT": boot or boot_id()}}},
        {"urn": "urn::other", "inputs": {"environment": {"OTHER": "x"}}},
        {"urn": "urn::none"},
    ]
    exported = json.dumps({"deployment": {"resources": resources}})
    engine = f'#!/bin/sh\ncase "$*" in *export*) echo \'{exported}\' ;; *) echo "$@" ;; esac\n'
    Stack(prepared(tmp_path, engine), "dev").restore_machine_network()
    assert capfd.readouterr().out.strip().rpartition(" ")[2] == targets


@pytest.mark.parametrize("keeps_state", [True, False])
def test_network_of_the_machine_ignores_later_edits(
    keeps_state: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    exported = json.dumps({"deployment": {"resources": [{"urn": "routes", "inputs": {"environment": {BOOT: "old"}}}]}})
    engine = f'#!/bin/sh\ncase "$*" in *export*) echo \'{exported}\' ;; *) echo "$HARDWAY_ROLLBACK: $@" ;; esac\n'
    workspace = prepared(tmp_path, engine)
    record = workspace.state / ".pulumi/history/hardway/dev/dev-1.history.json"
    record.parent.mkdir(parents=True)
    applied = {"hardway:name": "applied"}
    record.write_text(json.dumps({"kind": "update", "result": "succeeded", "endTime": 0, "config": applied}))
    monkeypatch.setattr(environment, "keeps_state", lambda _: keeps_state)
    Stack(workspace, "dev").restore_machine_network()
    used, _, words = capfd.readouterr().out.strip().partition(": ")
    file = workspace.previous_configuration("dev")
    assert used == (str(file) if keeps_state else "")
    assert (f"--config-file {file} --target=routes" in words) == keeps_state
    if keeps_state:
        assert json.loads(file.read_text()) == {"config": applied}


LIBVIRT = {"urn": "libvirt", "type": "pulumi:providers:libvirt", "inputs": {"uri": "qemu:///system"}}
MACHINE = {"urn": "machine", "type": "hardway:machine:Machine"}
DOMAIN = {"urn": "domain", "type": "libvirt:index/domain:Domain", "parent": "machine"}
PREPARED = {"urn": "prepared", "type": "command:remote:Command", "parent": "machine"}
INSIDE = {**PREPARED, "deletedWith": "domain"}


@pytest.mark.parametrize(
    ("resources", "pending", "expected"),
    [
        ([LIBVIRT, MACHINE, DOMAIN, INSIDE], [], {"qemu:///system"}),
        ([LIBVIRT, MACHINE], [DOMAIN], {"qemu:///system"}),
        ([LIBVIRT | {"inputs": {"uri": "qemu+ssh://there/system"}}, MACHINE], [], {"qemu+ssh://there/system"}),
        ([MACHINE, PREPARED], [], {EXISTING_MACHINES}),
        ([LIBVIRT, MACHINE], [PREPARED], {"qemu:///system", EXISTING_MACHINES}),
        ([MACHINE], [], set()),
    ],
    ids=["a VM", "a VM being created", "elsewhere", "a machine", "a machine being set up", "nothing yet"],
)
def test_locations_are_libvirts_and_existing_machines(
    tmp_path: Path, resources: list[dict[str, object]], pending: list[dict[str, object]], expected: set[str]
) -> None:
    operations = [{"type": "creating", "resource": resource} for resource in pending]
    exported = json.dumps({"deployment": {"resources": resources, "pending_operations": operations}})
    assert locations(prepared(tmp_path, f"#!/bin/sh\necho '{exported}'\n"), "dev") == expected


def test_deployed_stacks_need_no_hypervisor(tmp_path: Path) -> None:
    workspace = prepared(tmp_path, "#!/bin/sh\necho '[]'\n", private=True)
    workspace.hypervisor.write_text("no folder")
    assert deployed(workspace) == []


def test_a_failed_engine_is_named_with_its_exit_code(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"`pulumi stack` failed \(exit code 4\)"):
        Stack(prepared(tmp_path, "#!/bin/sh\nexit 4\n"), "dev").preview()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_waits_for_the_engine(tmp_path: Path, number: signal.Signals) -> None:
    prepared(tmp_path, SLOW_TO_STOP)
    program = "import sys; from pathlib import Path; from host import workspace; from host.engine.stack import Stack"
    program += "; Stack(workspace.Workspace(Path(sys.argv[1])), 'dev').preview()"
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(
        command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        if number == signal.SIGINT:
            # As a terminal does: to the whole group.
            subprocess.run(["kill", "-INT", "--", f"-{process.pid}"], check=True)
        else:
            process.send_signal(number)
        assert process.stdout.read() == "state written\n"
        assert process.wait() != 0


def test_a_preview_leaves_the_limit_to_its_caller(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    engine = '#!/bin/sh\necho "$1: $HARDWAY_LIMIT_CHECKED"\n'
    Stack(prepared(tmp_path, engine), "dev").preview()
    printed = capfd.readouterr()
    assert printed.out == "preview: 1\n"
    assert "stack: 1\n" in printed.err


@pytest.mark.parametrize(
    ("renew", "options"),
    [(None, ""), ([], " --replace urn::kubelet-a --replace urn::admin"), (["a"], " --replace urn::kubelet-a")],
)
def test_certificates_are_renewed_only_if_wanted(
    renew: list[str] | None, options: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kind = "tls:index/locallySignedCert:LocallySignedCert"
    certificates = [{"type": kind, "urn": f"urn::{name}"} for name in ("kubelet-a", "admin")]
    exported = json.dumps({"deployment": {"resources": certificates}})
    outputs = json.dumps({name: value for name, value in OUTPUTS.items() if name != "kubeconfig"})
    answers = f"*stack\\ export*) echo '{exported}' ;; *stack\\ output*) echo '{outputs}' ;;"
    stack = Stack(prepared(tmp_path, f'#!/bin/sh\ncase "$*" in {answers} *) echo "$@" ;; esac\n'), "dev")
    stack.preview(renew)
    stack.up(renew=renew)
    preview, up = (line for line in capfd.readouterr().out.splitlines() if line.startswith(("preview ", "up ")))
    assert preview == f"preview --stack dev --diff --skip-config-validation{options}"
    assert f" --skip-config-validation{options} --event-log " in up


def test_output_of_the_engine_appears_above_bars(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "shows_bars", lambda: True)
    with pytest.raises(HostError, match="`pulumi stack` failed"):
        Stack(prepared(tmp_path, "#!/bin/sh\necho updating\necho error: reason >&2\nexit 4\n"), "dev").up()
    printed = capfd.readouterr()
    assert "updating\nerror: reason\n" in printed.err
    assert printed.out == ""


LISTED = json.dumps([{"name": "organization/hardway/dev", "resourceCount": 1}])


def destroying(*resources: Mapping[str, object], exit_code: int = 0) -> str:
    """Return an engine with resources in the state of its stack, which prints how it deletes them."""
    exported = json.dumps({"deployment": {"resources": resources}})
    others = f"*ls*) echo '{LISTED}' ;; *export*) echo '{exported}' ;;"
    return f'#!/bin/sh\ncase "$*" in {others} *) echo deleting "$@"; exit {exit_code} ;; esac\n'


@pytest.mark.parametrize("exit_code", [0, 4])
def test_quiet_shows_progress_only_on_failure(
    exit_code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(console.VERBOSITY_VARIABLE, "quiet")
    stack = Stack(prepared(tmp_path, destroying(LIBVIRT, exit_code=exit_code)), "organization/hardway/dev")
    if exit_code == 0:
        stack.destroy()
        assert "deleting" not in "".join(capfd.readouterr())
    else:
        with pytest.raises(HostError, match="`pulumi destroy` failed"):
            stack.destroy()
        assert "deleting" in capfd.readouterr().err


def test_destroy_goes_on_where_one_of_several_hosts_fails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = {**LIBVIRT, "urn": "other", "inputs": {"uri": "qemu+ssh://there/system"}}
    for resources, continues in (([LIBVIRT], False), ([LIBVIRT, other], True)):
        Stack(prepared(tmp_path, destroying(*resources)), "dev").destroy()
        assert ("--continue-on-error" in capfd.readouterr().out) is continues
