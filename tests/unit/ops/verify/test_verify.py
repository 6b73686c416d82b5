"""What `python3 -m ops.verify` finds, says, records and ends with, the programs that it asks replaced."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from host.access.ssh import Login
from host.engine import drift
from host.engine.drift import record_repairs, recorded_repairs
from ops.clients import CommandError, Commands
from ops.verify import cluster, node, stack
from ops.verify.__main__ import main

ADDRESSES = {"server": "10.0.0.10", "node-0": "10.0.0.20", "node-1": "10.0.0.21"}
SERVICES = {
    "server": {"kube-apiserver": "a" * 64},
    "node-0": {"containerd": "b" * 64, "kubelet": "c" * 64},
    "node-1": {"containerd": "b" * 64, "kubelet": "d" * 64},
}
DRIFT = "difference\tkubelet\t/var/lib/kubelet/kubelet-config.yaml\tcontent differs"


def outputs() -> dict[str, Any]:
    """What the stack of a server and two workers says."""
    return {
        "nodes": {
            name: {"address": address, "role": "control-plane" if name == "server" else "worker"}
            for name, address in ADDRESSES.items()
        },
        "services": SERVICES,
        "sshKey": "private",
        "knownHosts": "".join(f"{address} ssh-ed25519 key-of-{name}\n" for name, address in ADDRESSES.items()),
        "kubeconfig": "kubeconfig",
    }


def report(name: str, *lines: str) -> str:
    """A node's report: what the stack says was applied, and the given lines."""
    applied = [f"applied\t{service}\t{digest}" for service, digest in SERVICES[name].items()]
    return "\n".join([*applied, *lines, "end\n"])


def api_node(name: str, **changes: Any) -> dict[str, Any]:
    """A Ready worker as the API server tells it."""
    details = {"ready": "True", "message": "", "version": "v1.36.3", "labels": {"node-role.kubernetes.io/worker": ""}}
    details |= changes
    return {
        "metadata": {"name": name, "labels": details["labels"]},
        "status": {
            "conditions": [{"type": "Ready", "status": details["ready"], "message": details["message"]}],
            "nodeInfo": {"kubeletVersion": details["version"]},
        },
    }


Answer = TypeVar("Answer")


class Answers(Commands):
    """A lab that is as the stack says, but for what a test puts in its place; an error is raised."""

    def __init__(self) -> None:
        self.said: Mapping[str, Any] | CommandError = outputs()
        self.reports: dict[str, str | CommandError] = {name: report(name) for name in SERVICES}
        self.listed: Mapping[str, Any] | CommandError = {"items": [api_node("node-0"), api_node("node-1")]}

    def selected_stack(self) -> str:
        return "selected"

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack.rpartition("/")[2] in ("dev", "selected")
        return _answer(self.said)

    def report(self, login: Login) -> str:
        [name] = [name for name, address in ADDRESSES.items() if address == login.address]
        assert login.host_key == f"ssh-ed25519 key-of-{name}"
        return _answer(self.reports[name])

    def nodes(self, kubeconfig: str | None) -> Mapping[str, Any]:
        assert kubeconfig == "kubeconfig"
        return _answer(self.listed)


def _answer(answer: Answer | CommandError) -> Answer:
    if isinstance(answer, CommandError):
        raise answer
    return answer


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """A lab where nothing differs, its records in a folder of the test's own."""
    monkeypatch.setattr(drift, "RECORDS", tmp_path)
    return Answers()


def test_nothing_differs_in_a_lab_that_is_as_the_stack_says(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stack", "dev"], lab) == 0
    assert capsys.readouterr().out == "3 nodes, 5 services, 0 differences\n"
    assert not drift.record_of("dev").exists()


def test_a_difference_is_told_by_node_service_and_file(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main(["--stack", "dev"], lab) == 1
    assert capsys.readouterr().out.splitlines() == [
        "node-1  kubelet  /var/lib/kubelet/kubelet-config.yaml: content differs",
        "3 nodes, 5 services, 1 difference",
    ]


def test_a_program_is_told_the_same_as_json(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    lab.reports["node-0"] = CommandError("No route to host")
    assert main(["--stack", "dev", "--json"], lab) == 2
    assert json.loads(capsys.readouterr().out) == {
        "nodes": 2,
        "services": 3,
        "differences": [
            {
                "node": "node-1",
                "service": "kubelet",
                "subject": "/var/lib/kubelet/kubelet-config.yaml",
                "difference": "content differs",
            }
        ],
        "unseen": {"node-0": "No route to host"},
    }


def test_a_node_that_does_not_answer_is_named_and_the_others_are_still_told(
    lab: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.reports["node-0"] = CommandError("ssh: connect to host 10.0.0.20 port 22: No route to host", 255)
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main(["--stack", "dev"], lab) == 2
    assert capsys.readouterr().out.splitlines() == [
        "node-1  kubelet  /var/lib/kubelet/kubelet-config.yaml: content differs",
        "node-0  could not be looked at: ssh: connect to host 10.0.0.20 port 22: No route to host",
        "2 nodes, 3 services, 1 difference",
    ]
    assert recorded_repairs("dev").keys() == {("node-1", "kubelet")}


@pytest.mark.parametrize("said", ["", "applied\tkubelet\t" + "d" * 64 + "\n", "Welcome!\nend\n"])
def test_a_report_that_is_not_whole_counts_as_no_answer(
    lab: Answers, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    lab.reports["node-1"] = said
    assert main(["--stack", "dev"], lab) == 2
    assert "node-1  could not be looked at: its report" in capsys.readouterr().out


def test_an_api_server_that_does_not_answer_is_named(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.listed = CommandError("connection refused")
    assert main(["--stack", "dev"], lab) == 2
    assert "the API server  could not be looked at: connection refused" in capsys.readouterr().out


def test_a_stack_that_cannot_be_read_ends_with_a_sentence(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.said = CommandError("no stack named 'dev' found")
    assert main(["--stack", "dev"], lab) == 2
    assert capsys.readouterr().err == "hardway: the stack could not be read: no stack named 'dev' found\n"


@pytest.mark.parametrize("name", ["nodes", "services", "sshKey", "knownHosts"])
def test_a_stack_that_was_never_brought_up_ends_with_a_sentence(
    lab: Answers, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    lab.said = {output: value for output, value in outputs().items() if output != name}
    assert main(["--stack", "dev"], lab) == 2
    assert f"the stack has no output {name}; bring the lab up first" in capsys.readouterr().err


def test_without_a_name_the_selected_stack_is_meant(lab: Answers) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main([], lab) == 1
    assert recorded_repairs("selected")


def test_what_a_stack_says_shows_no_key() -> None:
    assert "private" not in repr(stack.parse(outputs()).nodes)


def test_a_service_that_is_only_in_the_stack_or_only_on_the_node_differs() -> None:
    found = node.differences(
        "node-1",
        {"kubelet": "d" * 64, "kube-proxy": "e" * 64},
        node.parse(f"applied\tkubelet\t{'d' * 64}\napplied\tetcd\t{'f' * 64}\nend\n"),
    )
    assert [str(finding) for finding in found] == [
        "node-1  kube-proxy  is not on the node",
        "node-1  etcd  is on the node, but not in the stack",
    ]


def test_a_service_that_was_applied_in_another_version_differs() -> None:
    found = node.differences("node-1", {"kubelet": "d" * 64}, node.parse(f"applied\tkubelet\t{'e' * 64}\nend\n"))
    assert [str(finding) for finding in found] == [
        "node-1  kubelet  was last applied in another version than the stack's"
    ]


def cluster_differences(*items: Mapping[str, Any], **said: Any) -> list[str]:
    """What is found of a stack's one worker, of which the stack says this besides, in a cluster of these nodes."""
    document = outputs()
    document["nodes"] = {"server": document["nodes"]["server"], "node-0": document["nodes"]["node-0"] | said}
    return [str(finding) for finding in cluster.differences(stack.parse(document).nodes, {"items": items})]


def test_a_control_plane_without_a_kubelet_needs_no_node_in_the_cluster() -> None:
    assert cluster_differences(api_node("node-0")) == []


def test_a_worker_that_is_not_in_the_cluster_differs() -> None:
    assert cluster_differences() == ["node-0  kubelet  node: is not in the cluster"]


def test_a_node_that_the_stack_does_not_know_differs() -> None:
    assert cluster_differences(api_node("node-0"), api_node("node-9")) == [
        "node-9  -  node: is in the cluster, but not in the stack"
    ]


def test_in_a_cluster_that_was_joined_other_nodes_are_whoevers_it_is() -> None:
    document = outputs()
    del document["nodes"]["server"]
    listed = {"items": [api_node(name) for name in ("node-0", "node-1", "node-9")]}
    assert list(cluster.differences(stack.parse(document).nodes, listed)) == []


@pytest.mark.parametrize("ready", ["False", "Unknown"])
def test_a_node_that_is_not_ready_differs_and_says_why(ready: str) -> None:
    assert cluster_differences(api_node("node-0", ready=ready, message="no network")) == [
        "node-0  kubelet  node: is not Ready: no network"
    ]


def test_a_node_that_was_never_ready_differs() -> None:
    item = api_node("node-0")
    del item["status"]["conditions"]
    assert cluster_differences(item) == ["node-0  kubelet  node: is not Ready: it never said so"]


def test_a_node_of_another_version_differs() -> None:
    assert cluster_differences(api_node("node-0", version="v1.35.4"), kubernetesVersion="v1.36.3") == [
        "node-0  kubelet  node: runs v1.35.4, not v1.36.3"
    ]
    assert cluster_differences(api_node("node-0"), kubernetesVersion="1.36.3") == []


def test_a_lost_role_differs() -> None:
    assert cluster_differences(api_node("node-0", labels={})) == [
        "node-0  membership  label node-role.kubernetes.io/worker: missing"
    ]


def test_a_label_of_the_stack_that_is_lost_or_changed_differs_and_others_do_not() -> None:
    role = {"node-role.kubernetes.io/worker": ""}
    item = api_node("node-0", labels=role | {"disk": "slow", "somebody": "else"})
    assert cluster_differences(item, labels={"disk": "fast", "rack": "3"}) == [
        "node-0  membership  label disk: is 'slow', not 'fast'",
        "node-0  membership  label rack: missing",
    ]


def test_a_taint_of_the_stack_that_is_lost_or_changed_differs_and_others_do_not() -> None:
    item = api_node("node-0")
    item["spec"] = {
        "taints": [
            {"key": "lent", "effect": "NoSchedule"},
            {"key": "purpose", "value": "test", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
        ]
    }
    assert cluster_differences(item, taints=["lent:NoSchedule"]) == []
    assert cluster_differences(item, taints=["purpose=build:NoSchedule"]) == [
        "node-0  membership  taint purpose=build:NoSchedule: missing"
    ]


def test_only_what_up_can_set_right_is_recorded(lab: Answers) -> None:
    lab.reports["node-1"] = report(
        "node-1", f"applied\tetcd\t{'f' * 64}", "difference\tetcd\t/bin/etcd\tmissing", DRIFT
    )
    lab.listed = {"items": [api_node("node-0", labels={}), api_node("node-1"), api_node("node-9")]}
    assert main(["--stack", "dev"], lab) == 1
    assert recorded_repairs("dev").keys() == {("node-1", "kubelet"), ("node-0", "membership")}


def test_the_record_of_a_stack_in_an_organization_has_the_name_that_the_program_sees(lab: Answers) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    main(["--stack", "somebody/hardway/dev"], lab)
    assert recorded_repairs("dev")


def at(minute: int) -> datetime:
    """A time of a look."""
    return datetime(2026, 1, 2, 3, minute, tzinfo=UTC)


def test_a_look_that_finds_nothing_leaves_the_record_as_it_is(lab: Answers) -> None:
    record_repairs("dev", {("node-1", "kubelet"): ["content differs"]}, at(0))
    before = drift.record_of("dev").read_bytes()
    assert main(["--stack", "dev"], lab) == 0
    assert drift.record_of("dev").read_bytes() == before


@pytest.mark.usefixtures("lab")
def test_only_the_pair_where_something_was_found_gets_a_new_token() -> None:
    pairs = [("node-0", "kubelet"), ("node-1", "kubelet"), ("node-1", "containerd")]
    record_repairs("dev", {pair: ["content differs"] for pair in pairs}, at(0))
    before = recorded_repairs("dev")
    record_repairs("dev", {("node-1", "kubelet"): ["missing"]}, at(1))
    after = recorded_repairs("dev")
    assert after.keys() == set(pairs)
    assert {pair for pair in pairs if before[pair] != after[pair]} == {("node-1", "kubelet")}


@pytest.mark.usefixtures("lab")
def test_the_same_difference_found_again_later_is_repaired_again() -> None:
    pair = ("node-1", "kubelet")
    record_repairs("dev", {pair: ["content differs"]}, at(0))
    before = recorded_repairs("dev")[pair]
    record_repairs("dev", {pair: ["content differs"]}, at(1))
    assert recorded_repairs("dev")[pair] != before


@pytest.mark.usefixtures("lab")
def test_a_token_is_one_word() -> None:
    record_repairs("dev", {("node-1", "kubelet"): ["content differs"]}, at(0))
    [token] = recorded_repairs("dev").values()
    assert token.split() == [token]


def test_a_machine_of_somebody_elses_is_looked_at_in_its_own_way() -> None:
    said = outputs()
    said["nodes"]["node-1"] |= {"user": "debian", "port": 2222}
    said["machineKeys"] = {"node-1": "its key"}
    said["knownHosts"] = said["knownHosts"].replace(ADDRESSES["node-1"], f"[{ADDRESSES['node-1']}]:2222")
    nodes = stack.parse(said).nodes
    assert nodes["node-1"].login == Login(
        address=ADDRESSES["node-1"], key="its key", host_key="ssh-ed25519 key-of-node-1", user="debian", port=2222
    )
    assert nodes["node-0"].login.key == "private"
