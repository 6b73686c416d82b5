"""The differences that `python3 -m ops.verify` finds, prints and records, with fake pulumi, kubectl and ssh."""

import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from host.access.ssh import Login
from host.engine import drift
from host.engine.drift import record_drift, recorded_drift
from lab.outputs import StackOutputs
from lab.secrets import keyed_fingerprint
from ops.clients import CommandError, Commands, logins
from ops.verify import __main__ as verify
from ops.verify import cluster, node
from ops.verify.__main__ import main
from tests.support.certificates import pair

ADDRESSES = {"server": "10.0.0.10", "node-0": "10.0.0.20", "node-1": "10.0.0.21"}
SERVICES = {
    "server": {"kube-apiserver": "a" * 64},
    "node-0": {"containerd": "b" * 64, "kubelet": "c" * 64},
    "node-1": {"containerd": "b" * 64, "kubelet": "d" * 64},
}
DRIFT = "difference\tkubelet\t/var/lib/kubelet/kubelet-config.yaml\tcontent differs"


def outputs() -> dict[str, Any]:
    """Return the outputs of a stack with a server and two workers."""
    return {
        "nodes": {
            name: {
                "address": address,
                "role": "control-plane" if name == "server" else "worker",
                "kubernetesVersion": "v1.37.2",
                "ssh": f"ssh {name}",
            }
            for name, address in ADDRESSES.items()
        },
        "apiEndpoint": "https://10.0.0.10:6443",
        "certificateAuthority": "certificate",
        "services": SERVICES,
        "sshKey": "private",
        "knownHosts": "".join(f"{address} ssh-ed25519 key-of-{name}\n" for name, address in ADDRESSES.items()),
        "kubeconfig": "kubeconfig",
    }


def report(name: str, *lines: str) -> str:
    """Return a node's report: the services as the stack applied them, and the given lines."""
    applied = [f"applied\t{service}\t{digest}" for service, digest in SERVICES[name].items()]
    return "\n".join([*applied, *lines, "end\n"])


def api_node(name: str, **changes: Any) -> dict[str, Any]:
    """Return a Ready worker as the API server describes it."""
    details = {"ready": "True", "message": "", "version": "v1.37.2", "labels": {"node-role.kubernetes.io/worker": ""}}
    details |= changes
    return {
        "metadata": {
            "name": name,
            "labels": details["labels"],
            "annotations": {cluster.JOINED_ANNOTATION: "true"} if details.get("joined") else {},
        },
        "status": {
            "conditions": [{"type": "Ready", "status": details["ready"], "message": details["message"]}],
            "nodeInfo": {"kubeletVersion": details["version"]},
        },
    }


Answer = TypeVar("Answer")


class Answers(Commands):
    """A lab without differences. A test replaces an answer, by an error if it should fail."""

    def __init__(self) -> None:
        self.stack: Mapping[str, Any] | CommandError = outputs()
        self.reports: dict[str, str | CommandError] = {name: report(name) for name in SERVICES}
        self.node_list: Mapping[str, Any] | CommandError = {"items": [api_node("node-0"), api_node("node-1")]}

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack.rpartition("/")[2] == "dev"
        return _answer(self.stack)

    def report(self, login: Login) -> str:
        [name] = [name for name, address in ADDRESSES.items() if address == login.address]
        assert login.host_key == f"ssh-ed25519 key-of-{name}"
        return _answer(self.reports[name])

    def nodes(self, kubeconfig: str | None) -> Mapping[str, Any]:
        assert kubeconfig == "kubeconfig"
        return _answer(self.node_list)


def _answer(answer: Answer | CommandError) -> Answer:
    if isinstance(answer, CommandError):
        raise answer
    return answer


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Return a lab without differences, whose records are in the test's own folder."""
    monkeypatch.setattr(drift, "RECORDS", tmp_path)
    return Answers()


def test_lab_without_differences(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stack", "dev"], lab) == 0
    assert capsys.readouterr().out == "3 nodes, 5 services, 0 differences\n"
    assert not drift.record_path("dev").exists()


def test_difference_names_node_service_and_file(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main(["--stack", "dev"], lab) == 1
    assert capsys.readouterr().out.splitlines() == [
        "node-1  kubelet  /var/lib/kubelet/kubelet-config.yaml: content differs",
        "3 nodes, 5 services, 1 difference",
    ]


def test_json_report(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
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
        "certificates": [],
        "joined": [],
        "unseen": {"node-0": "No route to host"},
    }


class Reporting(Answers):
    """A lab whose node counts as lost in its first answers, or whose API server fails."""

    def __init__(self, answers: int, error: str = "") -> None:
        super().__init__()
        self.left, self.error = answers, error

    def nodes(self, kubeconfig: str | None) -> Mapping[str, Any]:
        self.left -= 1
        if self.left < 0:
            return super().nodes(kubeconfig)
        if self.error:
            raise CommandError(self.error)
        return {"items": [api_node("node-0", ready="Unknown", message="It stopped reporting."), api_node("node-1")]}


def test_node_that_reports_again_is_no_difference(lab: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "POLL_INTERVAL", 0.0)
    assert lab
    assert main(["--stack", "dev"], Reporting(2)) == 0
    monkeypatch.setattr(verify, "REPORT_TIMEOUT", 0.0)
    assert main(["--stack", "dev"], Reporting(2)) == 1


def test_api_server_that_answers_again_is_compared(lab: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "POLL_INTERVAL", 0.0)
    assert lab
    assert main(["--stack", "dev"], Reporting(2, "connection reset by peer")) == 0
    assert main(["--stack", "dev"], Reporting(1, "nodes is forbidden")) == 2
    monkeypatch.setattr(verify, "REPORT_TIMEOUT", 0.0)
    assert main(["--stack", "dev"], Reporting(2, "connection reset by peer")) == 2


def certificate(days: float, path: str = "/kubelet.crt") -> str:
    """Return the line about a certificate that expires in some days, as a node prints it."""
    now = datetime.now(UTC)
    pem, _ = pair("system:node:node-1", valid=(now - timedelta(days=1), now + timedelta(days=days, minutes=5)))
    return f"certificate\tkubelet\t{path}\t{pem.replace(chr(10), '|')}"


def test_expiring_certificate_is_named_and_no_difference(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-1"] = report("node-1", certificate(29), certificate(38, "/later.crt"))
    assert main(["--stack", "dev"], lab) == 0
    first, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"node-1  kubelet  /kubelet\.crt: expires on \d{4}-\d\d-\d\d \d\d:\d\d UTC, in 29\.0 days; "
        "the next `hardway up` renews it",
        first,
    )
    assert last == "3 nodes, 5 services, 0 differences"
    main(["--stack", "dev", "--json"], lab)
    [row] = json.loads(capsys.readouterr().out)["certificates"]
    assert (row["node"], row["service"], row["path"]) == ("node-1", "kubelet", "/kubelet.crt")
    assert row["expiry"] in first


def test_next_renewal_is_named_and_no_difference(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-1"] = report("node-1", certificate(35))
    assert main(["--stack", "dev"], lab) == 0
    first, _ = capsys.readouterr().out.splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"
    assert re.fullmatch(
        rf"node-1  kubelet  /kubelet\.crt: expires on {time}; `hardway up` renews it from {time} on", first
    )


def test_unreadable_certificate_hides_no_difference(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-1"] = report("node-1", "certificate\tkubelet\t/kubelet.crt\t-----BEGIN CERTIFICATE-----|", DRIFT)
    assert main(["--stack", "dev"], lab) == 1
    assert "content differs" in capsys.readouterr().out


def test_silent_node_does_not_hide_the_others(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-0"] = CommandError("ssh: connect to host 10.0.0.20 port 22: No route to host", 255)
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main(["--stack", "dev"], lab) == 2
    assert capsys.readouterr().out.splitlines() == [
        "node-1  kubelet  /var/lib/kubelet/kubelet-config.yaml: content differs",
        "node-0  could not be compared: ssh: connect to host 10.0.0.20 port 22: No route to host",
        "2 nodes, 3 services, 1 difference",
    ]
    assert recorded_drift("dev").keys() == {("node-1", "kubelet")}


@pytest.mark.parametrize("printed", ["", "applied\tkubelet\t" + "d" * 64 + "\n", "Welcome!\nend\n"])
def test_incomplete_report_is_no_answer(lab: Answers, capsys: pytest.CaptureFixture[str], printed: str) -> None:
    lab.reports["node-1"] = printed
    assert main(["--stack", "dev"], lab) == 2
    assert "node-1  could not be compared: its report" in capsys.readouterr().out


def test_silent_api_server_is_named(
    lab: Answers, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "REPORT_TIMEOUT", 0.0)
    lab.node_list = CommandError("connection refused")
    assert main(["--stack", "dev"], lab) == 2
    assert "the API server  could not be compared: connection refused" in capsys.readouterr().out


def test_unreadable_stack_ends_with_a_sentence(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.stack = CommandError("no stack named 'dev' found")
    assert main(["--stack", "dev"], lab) == 2
    assert capsys.readouterr().err == "hardway: the stack could not be read: no stack named 'dev' found\n"


@pytest.mark.parametrize("name", ["nodes", "services", "sshKey", "knownHosts"])
def test_stack_never_brought_up_ends_with_a_sentence(
    lab: Answers, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    lab.stack = {output: value for output, value in outputs().items() if output != name}
    assert main(["--stack", "dev"], lab) == 2
    assert f"the stack has no output {name}; bring the lab up first" in capsys.readouterr().err


def test_quiet_prints_only_differences(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quiet"], lab) == 0
    assert capsys.readouterr() == ("", "")
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main(["--quiet"], lab) == 1
    captured = capsys.readouterr()
    assert captured.out == "node-1  kubelet  /var/lib/kubelet/kubelet-config.yaml: content differs\n"
    assert captured.err == ""


def test_verbose_lists_services_without_differences(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main(["--verbose"], lab) == 1
    assert capsys.readouterr().out.splitlines()[:5] == [
        "server  kube-apiserver  does not differ",
        "node-0  containerd  does not differ",
        "node-0  kubelet  does not differ",
        "node-1  containerd  does not differ",
        "node-1  kubelet  /var/lib/kubelet/kubelet-config.yaml: content differs",
    ]


def test_progress_names_each_compared_part(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.reports["node-0"] = CommandError("No route to host")
    assert main([], lab) == 2
    lines = capsys.readouterr().err.splitlines()
    parts = {line.partition("] ")[2].partition(" (")[0] for line in lines}
    assert parts == {
        "server: no difference",
        "node-0: could not be compared: No route to host",
        "node-1: no difference",
        "the API server: no difference",
    }
    assert lines[-1].endswith("(4 of 4)")


def test_dev_is_the_default_stack(lab: Answers) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    assert main([], lab) == 1
    assert recorded_drift("dev")


def test_logins_show_no_key() -> None:
    assert "private" not in repr(logins(StackOutputs.from_dict(outputs())))


def test_service_missing_on_either_side_differs() -> None:
    found = node.differences(
        "node-1",
        {"kubelet": "d" * 64, "kube-proxy": "e" * 64},
        node.parse(f"applied\tkubelet\t{'d' * 64}\napplied\tetcd\t{'f' * 64}\nend\n"),
        "key",
    )
    assert [str(difference) for difference in found] == [
        "node-1  kube-proxy  is not on the node",
        "node-1  etcd  is on the node, but not in the stack",
    ]


def test_service_applied_in_another_version_differs() -> None:
    for recorded in ("d" * 64, keyed_fingerprint("key", "d" * 64)):
        report = node.parse(f"applied\tkubelet\t{'e' * 64}\nend\n")
        found = node.differences("node-1", {"kubelet": recorded}, report, "key")
        assert [str(difference) for difference in found] == [
            "node-1  kubelet  the version on the node is not the stack's"
        ]


def test_keyed_fingerprint_of_the_same_version_is_no_difference() -> None:
    report = node.parse(f"applied\tkubelet\t{'d' * 64}\nend\n")
    recorded = {"kubelet": keyed_fingerprint("key", "d" * 64)}
    assert not list(node.differences("node-1", recorded, report, "key"))
    assert list(node.differences("node-1", recorded, report, "another key"))


def test_alarm_of_etcd_is_a_difference_that_no_up_corrects(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    status = {"header": {"member_id": 1}, "version": "3.6.16", "errors": ["memberID:1 alarm:CORRUPT"]}
    lab.reports["server"] = report("server", f"etcd\t{json.dumps([{'Status': status}])}")
    assert main([], lab) == 1
    assert "server  -  etcd has the alarm CORRUPT: its data differs" in capsys.readouterr().out
    assert recorded_drift("dev") == {}


@pytest.mark.parametrize("text", ["", "[]", '[{"Status": {}}]'])
def test_invalid_state_of_etcd_is_no_report(text: str) -> None:
    with pytest.raises(node.ReportError, match="invalid state of etcd"):
        node.parse(f"etcd\t{text}\nend\n")


def cluster_differences(*items: Mapping[str, Any], **values: Any) -> list[str]:
    """Compare a cluster of these nodes with a stack that has one worker, with these outputs."""
    document = outputs()
    document["nodes"] = {"server": document["nodes"]["server"], "node-0": document["nodes"]["node-0"] | values}
    return [str(each) for each in cluster.differences(StackOutputs.from_dict(document), {"items": items})]


def test_control_plane_without_kubelet_is_no_node() -> None:
    assert cluster_differences(api_node("node-0")) == []


def test_missing_worker_differs() -> None:
    assert cluster_differences() == [
        "node-0  kubelet  node: is not in the cluster",
        "node-0  registration  labels and taints: missing with the node",
    ]


def test_unknown_node_differs() -> None:
    assert cluster_differences(api_node("node-0"), api_node("node-9")) == [
        "node-9  -  node: is in the cluster, but not in the stack"
    ]


def test_joined_cluster_may_have_other_nodes() -> None:
    document = outputs()
    del document["nodes"]["server"]
    found = StackOutputs.from_dict(document)
    items = [api_node("node-0", joined=True), api_node("node-1", joined=True), api_node("node-9")]
    assert list(cluster.differences(found, {"items": items})) == []
    assert cluster.joined(found, {"items": items}) == []
    items[1] = api_node("node-1")
    assert list(map(str, cluster.differences(found, {"items": items}))) == [
        "node-1  registration  annotation hardway.dev/joined: missing"
    ]


def test_node_of_a_joined_lab_is_a_note(lab: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    lab.node_list = {"items": [api_node("node-0"), api_node("node-1"), api_node("guest-0", joined=True)]}
    assert main(["--stack", "dev", "--quiet"], lab) == 0
    assert capsys.readouterr().out == "guest-0  is a node of another lab, which has joined the cluster\n"


@pytest.mark.parametrize("ready", ["False", "Unknown"])
def test_node_that_is_not_ready_differs(ready: str) -> None:
    assert cluster_differences(api_node("node-0", ready=ready, message="no network")) == [
        "node-0  kubelet  node: is not Ready: no network"
    ]


NO_NETWORK = "container runtime network not ready: NetworkReady=false"


def test_node_without_the_users_cni_plugin_differs() -> None:
    found = StackOutputs.from_dict(outputs() | {"podNetwork": "none"})
    items = [api_node("node-0", ready="False", message=NO_NETWORK), api_node("node-1", ready="False", message="disk")]
    assert list(map(str, cluster.differences(found, {"items": items}))) == [
        "node-0  -  node: is not Ready until you install a CNI plugin, because podNetwork is none",
        "node-1  kubelet  node: is not Ready: disk",
    ]


def test_node_that_was_never_ready_differs() -> None:
    item = api_node("node-0")
    del item["status"]["conditions"]
    assert cluster_differences(item) == ["node-0  kubelet  node: is not Ready: it never reported its state"]


def test_node_of_another_version_differs() -> None:
    assert cluster_differences(api_node("node-0", version="v1.35.4"), kubernetesVersion="v1.37.2") == [
        "node-0  kubelet  node: runs v1.35.4, not v1.37.2"
    ]
    assert cluster_differences(api_node("node-0"), kubernetesVersion="1.37.2") == []


def test_lost_role_differs() -> None:
    assert cluster_differences(api_node("node-0", labels={})) == [
        "node-0  registration  label node-role.kubernetes.io/worker: missing"
    ]


def test_only_labels_of_the_stack_are_compared() -> None:
    role = {"node-role.kubernetes.io/worker": ""}
    item = api_node("node-0", labels=role | {"disk": "slow", "somebody": "else"})
    assert cluster_differences(item, labels={"disk": "fast", "rack": "3"}) == [
        "node-0  registration  label disk: is 'slow', not 'fast'",
        "node-0  registration  label rack: missing",
    ]


@pytest.mark.parametrize(
    ("actual", "difference"), [(None, "missing"), ("10.200.7.0/24", "is 10.200.7.0/24, not 10.200.0.0/24")]
)
def test_pod_cidr_is_compared(actual: str | None, difference: str) -> None:
    item = api_node("node-0") | {"spec": {"podCIDR": actual} if actual else {}}
    assert cluster_differences(item, podCidr="10.200.0.0/24") == [f"node-0  registration  pod CIDR: {difference}"]


def test_only_taints_of_the_stack_are_compared() -> None:
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
        "node-0  registration  taint purpose=build:NoSchedule: missing"
    ]


def test_only_correctable_differences_are_recorded(lab: Answers) -> None:
    lab.reports["node-1"] = report(
        "node-1", f"applied\tetcd\t{'f' * 64}", "difference\tetcd\t/bin/etcd\tmissing", DRIFT
    )
    lab.node_list = {"items": [api_node("node-0", labels={}), api_node("node-1"), api_node("node-9")]}
    assert main(["--stack", "dev"], lab) == 1
    assert recorded_drift("dev").keys() == {("node-1", "kubelet"), ("node-0", "registration")}


def test_record_has_the_short_stack_name(lab: Answers) -> None:
    lab.reports["node-1"] = report("node-1", DRIFT)
    main(["--stack", "somebody/hardway/dev"], lab)
    assert recorded_drift("dev")


def at(minute: int) -> datetime:
    """Return the time of a comparison."""
    return datetime(2026, 1, 2, 3, minute, tzinfo=UTC)


def test_nothing_found_keeps_the_record(lab: Answers) -> None:
    record_drift("dev", {("node-1", "kubelet"): ["content differs"]}, at(0))
    before = drift.record_path("dev").read_bytes()
    assert main(["--stack", "dev"], lab) == 0
    assert drift.record_path("dev").read_bytes() == before


@pytest.mark.usefixtures("lab")
def test_only_new_differences_get_a_new_token() -> None:
    pairs = [("node-0", "kubelet"), ("node-1", "kubelet"), ("node-1", "containerd")]
    record_drift("dev", {pair: ["content differs"] for pair in pairs}, at(0))
    before = recorded_drift("dev")
    record_drift("dev", {("node-1", "kubelet"): ["missing"]}, at(1))
    after = recorded_drift("dev")
    assert after.keys() == set(pairs)
    assert {pair for pair in pairs if before[pair] != after[pair]} == {("node-1", "kubelet")}


@pytest.mark.usefixtures("lab")
def test_difference_found_again_gets_a_new_token() -> None:
    pair = ("node-1", "kubelet")
    record_drift("dev", {pair: ["content differs"]}, at(0))
    before = recorded_drift("dev")[pair]
    record_drift("dev", {pair: ["content differs"]}, at(1))
    assert recorded_drift("dev")[pair] != before


@pytest.mark.usefixtures("lab")
def test_token_is_one_word() -> None:
    record_drift("dev", {("node-1", "kubelet"): ["content differs"]}, at(0))
    [token] = recorded_drift("dev").values()
    assert token.split() == [token]


def test_existing_machine_has_its_own_login() -> None:
    document = outputs()
    document["nodes"]["node-1"] |= {"user": "debian", "port": 2222}
    document["machineKeys"] = {"node-1": "its key"}
    document["knownHosts"] = document["knownHosts"].replace(ADDRESSES["node-1"], f"[{ADDRESSES['node-1']}]:2222")
    reached_by = logins(StackOutputs.from_dict(document))
    assert reached_by["node-1"] == Login(
        address=ADDRESSES["node-1"], key="its key", host_key="ssh-ed25519 key-of-node-1", user="debian", port=2222
    )
    assert reached_by["node-0"].key == "private"


@pytest.mark.parametrize(
    ("keys", "service", "remedy"),
    [
        ({}, "node-setup", "`hardway up` corrects it"),
        ({"node-1": "key"}, "-", "correct it with the machine's own time service"),
    ],
    ids=["VM", "existing machine"],
)
def test_wrong_clock_is_a_difference(
    lab: Answers, capsys: pytest.CaptureFixture[str], keys: Mapping[str, str], service: str, remedy: str
) -> None:
    lab.stack = outputs() | {"machineKeys": keys}
    lab.reports["node-1"] = report("node-1", f"clock\t{time.time() + 3600:.6f}")
    assert main(["--stack", "dev"], lab) == 1
    difference = capsys.readouterr().out.splitlines()[0]
    assert difference.startswith(f"node-1  {service}  its clock is 3600 s ahead of that of this machine; {remedy}")


def test_small_skew_is_no_difference(lab: Answers) -> None:
    lab.reports["node-1"] = report("node-1", f"clock\t{time.time() + 1:.6f}")
    assert main(["--stack", "dev"], lab) == 0


def test_broken_time_is_an_error() -> None:
    with pytest.raises(node.ReportError):
        node.parse("clock\tnoon\nend\n")
