"""What `python3 -m ops.smoke` tries, says, ends with and leaves behind, the cluster's answers replaced."""

import json
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from host.workspace import Workspace
from ops.clients import CommandError, Commands
from ops.smoke import __main__ as command
from ops.smoke.cluster import Cluster
from ops.smoke.objects import manifest

ADDRESSES = {"node-0": "10.200.0.5", "node-1": "10.200.1.5", "node-2": "10.200.2.5"}
SERVICE = "10.32.0.99"
OWN = "10.32.0.98"
"""The Service that leads a pod to itself."""


def pod(app: str, node: str) -> dict[str, Any]:
    """A pod that became ready four seconds after it was made."""
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-of-{node}",
            "labels": {"app": app},
            "creationTimestamp": "2026-01-02T03:04:05Z",
        },
        "spec": {"nodeName": node},
        "status": {
            "phase": "Running",
            "podIP": ADDRESSES.get(node, "10.0.0.1"),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-02T03:04:09Z"}],
        },
    }


class Stacks(Commands):
    """A stack with a control plane that runs no pods, and some workers."""

    def __init__(self, workers: Sequence[str] = ("node-0", "node-1")) -> None:
        self.said: dict[str, Any] = {"nodes": {"server": {}, **{name: {"podCidr": "10.0.0.0/24"} for name in workers}}}

    def selected_stack(self) -> str:
        return "selected"

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack in ("dev", "selected")
        return self.said


@dataclass
class Lab:
    """A cluster in which all is well, but for what a test puts in its place; what is done in it is noted."""

    workers: tuple[str, ...] = ("node-0", "node-1")
    items: list[dict[str, Any]] = field(default_factory=list)
    dns: bool = True
    failing: dict[str, BaseException] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    fetched: dict[str, list[str]] = field(default_factory=dict)
    log: str = ""
    before: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.items = [pod(app, node) for app in ("web", "host") for node in self.workers]
        for name, address in (("own", OWN), ("web", SERVICE)):
            self.items.append({"kind": "Service", "metadata": {"name": name}, "spec": {"clusterIP": address}})
        self.log = "".join(f"[pod/web-of-{node}/web] serving as web-of-{node}\n" for node in self.workers)

    def note(self, what: str) -> None:
        """Notes something that is done, and lets it fail where a test wants that."""
        self.done.append(what)
        self.before(what)
        if what in self.failing:
            raise self.failing[what]

    def answer(self, pod: str, url: str) -> str:
        """What a pod finds at a URL."""
        address = url.removeprefix("http://").partition("/")[0].partition(":")[0]
        if address in self.unreachable:
            return self.unreachable[address]
        if address == OWN:
            return pod
        named = {each: f"web-of-{node}" for node, each in ADDRESSES.items()}
        return named.get(address, f"web-of-{self.workers[0]}")


@dataclass(frozen=True)
class FakeCluster(Cluster):
    """The cluster of a lab."""

    lab: Lab

    def create(self, manifest: str) -> None:
        assert self.namespace in manifest
        self.lab.note("create")

    def wait_for_daemon_set(self, name: str) -> None:
        self.lab.note(f"wait {name}")

    def pods_and_services(self) -> list[dict[str, Any]]:
        self.lab.note("list")
        return self.lab.items

    def has_dns(self) -> bool:
        return self.lab.dns

    def execute(self, pod: str, command: Sequence[str]) -> str:
        self.lab.note(f"exec {pod}")
        urls = [word for word in command if word.startswith("http://")]
        self.lab.fetched[pod] = urls
        return "".join(f"{url}\t25\t{self.lab.answer(pod, url)}\n" for url in urls)

    def logs(self, app: str) -> str:
        self.lab.note(f"logs {app}")
        return self.lab.log

    def remove(self) -> None:
        self.lab.note("remove")


Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on a lab whose kubeconfig is there."""
    workspace = Workspace(tmp_path)
    monkeypatch.setattr(command, "LAYOUT", workspace)
    for stack in ("dev", "selected"):
        workspace.kubeconfig(stack).parent.mkdir(parents=True)
        workspace.kubeconfig(stack).touch()

    def run(lab: Lab, *arguments: str) -> int:
        def cluster(kubeconfig: Path, namespace: str) -> Cluster:
            assert kubeconfig.exists()
            return FakeCluster(kubeconfig, namespace, lab)

        return command.main(arguments or ["--stack", "dev"], Stacks(lab.workers), cluster)

    return run


def rows(text: str) -> list[dict[str, Any]]:
    """The rows that were printed as JSON."""
    found: list[dict[str, Any]] = json.loads(text)["rows"]
    return found


def test_all_is_well_in_a_cluster_that_does_what_clusters_do(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    assert run(lab) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:-1]] == [
        *["pod starts"] * 4,
        *["pod to pod"] * 2,
        *["Service by address"] * 4,
        *["pod to itself"] * 2,
        *["Service by name"] * 2,
        *["exec"] * 2,
        *["logs"] * 2,
        "removal",
    ]
    assert lines[-1] == "19 checks: 19 ok, 0 failed, 0 skipped"
    assert re.split("  +", lines[5])[:4] == ["pod to pod", "pod on node-0", "pod on node-1", "ok"]
    assert lab.done[0] == "create"
    assert lab.done[-1] == "remove"


def test_a_program_is_told_the_same_as_json(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Lab(), "--stack", "dev", "--json") == 0
    found = rows(capsys.readouterr().out)
    assert found[0] == {
        "check": "pod starts",
        "from": "",
        "to": "pod on node-0",
        "result": "ok",
        "seconds": 4.0,
        "reason": "",
    }
    assert {"pod on node-0", "pod on node-1", "host network of node-1"} <= {row["to"] for row in found}
    assert next(row for row in found if row["check"] == "Service by name")["seconds"] == 0.25


def test_the_pods_of_a_node_fetch_all_by_one_command_each(run: Run) -> None:
    lab = Lab()
    run(lab)
    assert lab.fetched == {
        "web-of-node-0": ["http://10.200.1.5:8080/", f"http://{SERVICE}/", f"http://{OWN}/", "http://web/"],
        "web-of-node-1": ["http://10.200.0.5:8080/", f"http://{SERVICE}/", f"http://{OWN}/", "http://web/"],
        "host-of-node-0": [f"http://{SERVICE}/"],
        "host-of-node-1": [f"http://{SERVICE}/"],
    }


def test_of_many_nodes_each_is_tried_with_the_next(run: Run) -> None:
    lab = Lab(workers=tuple(f"node-{number}" for number in range(6)))
    for item in lab.items[:6]:
        item["status"]["podIP"] = f"10.200.{item['spec']['nodeName'][-1]}.7"
    run(lab)
    assert [lab.fetched[f"web-of-node-{number}"][0] for number in (0, 4, 5)] == [
        "http://10.200.1.7:8080/",
        "http://10.200.5.7:8080/",
        "http://10.200.0.7:8080/",
    ]
    assert all(len(lab.fetched[f"web-of-node-{number}"]) == 4 for number in range(6))


def test_a_wrong_answer_fails_and_is_told(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(unreachable={"10.200.1.5": "wget: can't connect to remote host", "web": ""})
    assert run(lab, "--stack", "dev", "--json") == 1
    failed = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert [(row["check"], row["from"], row["to"], row["reason"]) for row in failed] == [
        ("pod to pod", "pod on node-0", "pod on node-1", "wget: can't connect to remote host"),
        ("Service by name", "pod on node-0", "Service web", "no answer"),
        ("Service by name", "pod on node-1", "Service web", "no answer"),
    ]


def test_a_pod_that_is_led_to_another_one_does_not_reach_itself(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Lab(unreachable={OWN: "web-of-node-1"}), "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["check"], failed["from"]) == ("pod to itself", "pod on node-0")


def test_without_dns_names_are_skipped_and_the_rest_is_tried(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(dns=False)
    assert run(lab, "--stack", "dev", "--json") == 0
    skipped = [row for row in rows(capsys.readouterr().out) if row["result"] == "skipped"]
    assert [(row["check"], row["from"], row["reason"]) for row in skipped] == [
        ("Service by name", "pod on node-0", "the cluster has no DNS"),
        ("Service by name", "pod on node-1", "the cluster has no DNS"),
    ]
    assert not any("http://web/" in urls for urls in lab.fetched.values())


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such host"}}}]},
            "ErrImagePull: no such host",
        ),
        (
            {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False", "message": "no network"}]},
            "is Pending, not ready: no network",
        ),
        ({}, "is Pending, not ready: it never said why"),
    ],
)
def test_a_pod_that_is_not_ready_fails_with_its_reason_and_the_others_are_tried(
    run: Run, capsys: pytest.CaptureFixture[str], status: dict[str, Any], reason: str
) -> None:
    lab = Lab(failing={"wait web": CommandError("timed out waiting for the condition")})
    lab.items[1]["status"] = status
    assert run(lab, "--stack", "dev", "--json") == 1
    found = rows(capsys.readouterr().out)
    assert [(row["to"], row["reason"]) for row in found if row["result"] == "failed"] == [("pod on node-1", reason)]
    assert [(row["check"], row["from"], row["to"]) for row in found if row["result"] == "skipped"] == [
        ("pod to pod", "pod on node-0", "pod on node-1"),
        ("pod to pod", "pod on node-1", "pod on node-0"),
        ("Service by address", "pod on node-1", f"Service {SERVICE}"),
        ("pod to itself", "pod on node-1", f"Service {OWN}"),
        ("Service by name", "pod on node-1", "Service web"),
        ("exec", "", "pod on node-1"),
        ("logs", "", "pod on node-1"),
    ]
    assert "exec web-of-node-1" not in lab.done


def test_a_node_without_a_pod_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    del lab.items[1]
    assert run(lab, "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["to"], failed["reason"]) == ("pod on node-1", "there is no pod")


def test_a_pod_that_is_on_no_node_yet_is_told_by_the_node_that_it_is_for(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab()
    del lab.items[1]["spec"]["nodeName"]
    terms = [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}]
    lab.items[1]["spec"]["affinity"] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    }
    lab.items[1]["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "1 Too many pods"}],
    }
    assert run(lab, "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["to"], failed["reason"]) == ("pod on node-1", "is Pending, not ready: 1 Too many pods")


def test_a_command_that_cannot_be_run_in_a_pod_fails_and_so_does_what_it_was_to_fetch(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(failing={"exec web-of-node-0": CommandError("unable to upgrade connection")})
    assert run(lab, "--stack", "dev", "--json") == 1
    failed = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert {row["reason"] for row in failed} == {"unable to upgrade connection"}
    assert [row["check"] for row in failed] == [
        "pod to pod",
        "Service by address",
        "pod to itself",
        "Service by name",
        "exec",
    ]


def test_a_log_that_lacks_what_the_pod_wrote_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    lab.log = lab.log.splitlines()[0]
    assert run(lab, "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["check"], failed["to"]) == ("logs", "pod on node-1")


def test_a_namespace_that_does_not_go_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Lab(failing={"remove": CommandError("timed out")})) == 1
    captured = capsys.readouterr()
    assert "1 failed" in captured.out
    assert "may still be there: timed out" in captured.err


@pytest.mark.parametrize("step", ["create", "list"])
def test_a_cluster_that_cannot_be_asked_is_no_failure_of_a_check_and_nothing_stays(
    run: Run, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    lab = Lab(failing={step: CommandError("connection refused")})
    assert run(lab) == 2
    assert lab.done[-1] == "remove"
    assert "the cluster could not be tried: connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", ["create", "list"])
def test_nothing_stays_of_one_that_was_interrupted(run: Run, step: str, number: signal.Signals) -> None:
    lab = Lab(before=lambda what: os.kill(os.getpid(), number) if what in (step, "remove") else None)
    with pytest.raises(KeyboardInterrupt):
        run(lab)
    assert lab.done[-1] == "remove"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_stack_that_is_not_up_ends_with_what_to_do(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(workers=())
    lab.items = []
    assert run(lab) == 2
    assert "bring it up first: make up STACK=dev" in capsys.readouterr().err
    assert lab.done == []


def test_a_kubeconfig_that_is_not_there_can_be_written(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Workspace(tmp_path).kubeconfig("dev").unlink()
    assert run(Lab()) == 2
    assert "make access STACK=dev" in capsys.readouterr().err


def test_without_a_name_the_selected_stack_is_meant(run: Run) -> None:
    assert run(Lab(), "--json") == 0


def test_every_run_has_a_namespace_of_its_own(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    names = set()
    for _ in range(2):
        run(Lab(), "--stack", "dev", "--json")
        names.add(rows(capsys.readouterr().out)[-1]["to"])
    assert len(names) == 2


def test_all_objects_are_in_the_namespace_and_a_tainted_node_has_its_pods() -> None:
    first, *others = yaml.safe_load_all(manifest("somewhere", ["node-0", "node-1"]))
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "somewhere")
    assert {each["metadata"]["namespace"] for each in others} == {"somewhere"}
    templates = [each["spec"]["template"]["spec"] for each in others if each["kind"] == "DaemonSet"]
    assert [template["tolerations"] for template in templates] == [[{"operator": "Exists"}]] * 2
    assert [template.get("hostNetwork", False) for template in templates] == [False, True]
    for template in templates:
        (terms,) = template["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"].values()
        assert [field["values"] for term in terms for field in term["matchFields"]] == [["node-0"], ["node-1"]]
