"""The checks of `python3 -m ops.smoke`, its output and its cleanup, with a fake cluster."""

import itertools
import json
import os
import re
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
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
PLAIN = "failed calling webhook: server gave HTTP response to HTTPS client"
OWN = "10.32.0.98"
"""Address of the Service that leads a pod to itself."""


def pod(app: str, node: str) -> dict[str, Any]:
    """Return a pod that became ready four seconds after its creation."""
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
    """A stack with a control plane that runs no pods, and workers."""

    def __init__(self, workers: Sequence[str] = ("node-0", "node-1")) -> None:
        node = {"role": "worker", "address": "10.0.0.1", "kubernetesVersion": "v1.37.2", "ssh": "ssh"}
        pods = {"podCidr": "10.0.0.0/24"}
        self.stack: dict[str, Any] = {
            "apiEndpoint": "https://10.0.0.1:6443",
            "certificateAuthority": "certificate",
            "nodes": {"server": node, **dict.fromkeys(workers, node | pods)},
            "services": {},
            "sshKey": "key",
            "knownHosts": "",
        }

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack == "dev"
        return self.stack


@dataclass
class Lab:
    """A healthy cluster that records the calls. A test replaces answers to make it unhealthy."""

    workers: tuple[str, ...] = ("node-0", "node-1")
    items: list[dict[str, Any]] = field(default_factory=list)
    dns: bool = True
    measured: list[str] | None = field(default_factory=lambda: ["node-0", "node-1"])
    failing: dict[str, BaseException] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    fetched: dict[str, list[str]] = field(default_factory=dict)
    retries: tuple[str, ...] = ()
    log: str = ""
    refusal: str = "wget: can't connect to remote host (10.32.0.99): Connection refused"
    seen: dict[str, str] = field(default_factory=dict)
    webhook: Iterator[str] = field(default_factory=lambda: itertools.repeat(PLAIN))
    before: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.items = [pod(app, node) for app in ("web", "peer", "host") for node in self.workers]
        for name, address in (("own", OWN), ("web", SERVICE)):
            self.items.append({"kind": "Service", "metadata": {"name": name}, "spec": {"clusterIP": address}})
        self.log = "".join(f"[pod/web-of-{node}/web] serving as web-of-{node}\n" for node in self.workers)

    def note(self, call: str) -> None:
        """Record a call, and fail if a test wants that."""
        self.done.append(call)
        self.before(call)
        if call in self.failing:
            raise self.failing[call]

    def answer(self, pod: str, url: str) -> str:
        """Return the answer that a pod gets from a URL."""
        address = url.removeprefix("!").removeprefix("http://").partition("/")[0].partition(":")[0]
        if address in self.unreachable:
            return self.unreachable[address]
        if url.startswith("!"):
            return self.refusal
        if address == OWN:
            return pod
        if url.endswith("/cgi-bin/client"):
            return f"{self.server_at(address)} {self.seen.get(pod) or self.address_of(pod)}"
        return f"web-of-{self.workers[0]}"

    def server_at(self, address: str) -> str:
        """Return the name of the web server at an address."""
        pods = [item for item in self.items if item["metadata"]["name"].startswith("web-")]
        return str(next(pod["metadata"]["name"] for pod in pods if pod["status"].get("podIP") == address))

    def address_of(self, pod: str) -> str:
        """Return the address of a pod."""
        return str(next(item["status"]["podIP"] for item in self.items if item["metadata"]["name"] == pod))


@dataclass(frozen=True)
class FakeCluster(Cluster):
    """The cluster of a lab."""

    lab: Lab

    def create(self, manifest: str) -> None:
        assert self.namespace in manifest
        self.lab.note("create")

    def wait_for_rollout(self, workload: str) -> None:
        self.lab.note(f"wait {workload}")

    def pods_and_services(self) -> list[dict[str, Any]]:
        self.lab.note("list")
        return self.lab.items

    def has_dns(self) -> bool:
        return self.lab.dns

    def create_for_webhook(self) -> None:
        if answer := next(self.lab.webhook):
            raise CommandError(answer)

    def measured_nodes(self) -> list[str] | None:
        return self.lab.measured

    def execute(self, pod: str, command: Sequence[str]) -> str:
        self.lab.note(f"exec {pod}")
        self.retries.extend(self.lab.retries)
        urls = [word for word in command if word.startswith(("http://", "!http://"))]
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
    """Return a function that runs the command on a lab whose kubeconfig exists."""
    workspace = Workspace(tmp_path)
    monkeypatch.setattr("ops.cluster.WORKSPACE", workspace)
    workspace.kubeconfig("dev").parent.mkdir(parents=True)
    workspace.kubeconfig("dev").touch()

    def run(lab: Lab, *arguments: str) -> int:
        def cluster(kubeconfig: Path, namespace: str) -> Cluster:
            assert kubeconfig.exists()
            return FakeCluster(kubeconfig, namespace, lab)

        return command.main(arguments or ["--stack", "dev"], Stacks(lab.workers), cluster)

    return run


def rows(text: str) -> list[dict[str, Any]]:
    """Return the rows that were printed as JSON."""
    found: list[dict[str, Any]] = json.loads(text)["rows"]
    return found


def test_healthy_cluster(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    assert run(lab) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:-1]] == [
        *["pod starts"] * 6,
        *["pod to pod"] * 2,
        *["Service by address"] * 4,
        *["Service refuses"] * 4,
        *["pod to itself"] * 2,
        *["Service by name"] * 2,
        *["exec"] * 2,
        *["pod to pod on its node"] * 2,
        *["node to pod"] * 2,
        *["logs"] * 2,
        "webhook",
        "aggregated API",
        "removal",
    ]
    assert lines[-1] == "31 checks: 31 ok, 0 failed, 0 skipped"
    assert re.split("  +", lines[7])[:4] == ["pod to pod", "pod on node-0", "pod on node-1", "ok"]
    assert lab.done[0] == "create"
    assert lab.done[-1] == "remove"


def test_report_names_repeated_calls(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Lab(workers=("node-0",), retries=("kubectl exec web: EOF",))) == 0
    assert "\ntried again: kubectl exec web: EOF\n" in capsys.readouterr().out


def test_json_report(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
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


def page(address: str) -> str:
    """Return the URL of the page with the address that a server sees."""
    return f"http://{address}:8080/cgi-bin/client"


def test_translated_address_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(seen={"web-of-node-0": "10.240.0.1", "host-of-node-1": "10.240.0.1"})
    assert run(lab, "--stack", "dev", "--json") == 1
    failed = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert [(row["check"], row["from"], row["reason"]) for row in failed] == [
        ("pod to pod", "pod on node-0", "web-of-node-1 10.240.0.1"),
        ("node to pod", "host network of node-1", "web-of-node-0 10.240.0.1"),
    ]


@pytest.mark.parametrize("answer", ["web-of-a-stranger", ""], ids=["answered", "timed out"])
def test_service_without_a_server_must_refuse(run: Run, capsys: pytest.CaptureFixture[str], answer: str) -> None:
    assert run(Lab(refusal=answer), "--stack", "dev", "--json") == 1
    failed = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert {(row["check"], row["to"]) for row in failed} == {("Service refuses", "Service 10.32.0.99 port 81")}


def test_each_pod_fetches_all_by_one_command(run: Run) -> None:
    lab = Lab()
    run(lab)
    services = [f"http://{SERVICE}/", f"!http://{SERVICE}:81/"]
    assert lab.fetched == {
        "web-of-node-0": [page("10.200.1.5"), *services, f"http://{OWN}/", "http://web/"],
        "web-of-node-1": [page("10.200.0.5"), *services, f"http://{OWN}/", "http://web/"],
        "peer-of-node-0": [page("10.200.0.5")],
        "peer-of-node-1": [page("10.200.1.5")],
        "host-of-node-0": [page("10.200.1.5"), *services],
        "host-of-node-1": [page("10.200.0.5"), *services],
    }


def test_with_many_nodes_each_fetches_from_the_next(run: Run) -> None:
    lab = Lab(workers=tuple(f"node-{number}" for number in range(6)))
    for item in lab.items[:6]:
        item["status"]["podIP"] = f"10.200.{item['spec']['nodeName'][-1]}.7"
    run(lab)
    assert [lab.fetched[f"web-of-node-{number}"][0] for number in (0, 4, 5)] == [
        page("10.200.1.7"),
        page("10.200.5.7"),
        page("10.200.0.7"),
    ]
    assert all(len(lab.fetched[f"web-of-node-{number}"]) == 5 for number in range(6))


def test_wrong_answer_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(unreachable={"10.200.1.5": "wget: can't connect to remote host", "web": ""})
    assert run(lab, "--stack", "dev", "--json") == 1
    failed = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert [(row["check"], row["from"], row["to"], row["reason"]) for row in failed] == [
        ("pod to pod", "pod on node-0", "pod on node-1", "wget: can't connect to remote host"),
        ("Service by name", "pod on node-0", "Service web", "no answer"),
        ("Service by name", "pod on node-1", "Service web", "no answer"),
        ("pod to pod on its node", "second pod on node-1", "pod on node-1", "wget: can't connect to remote host"),
        ("node to pod", "host network of node-0", "pod on node-1", "wget: can't connect to remote host"),
    ]


def test_pod_led_to_another_does_not_reach_itself(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Lab(unreachable={OWN: "web-of-node-1"}), "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["check"], failed["from"]) == ("pod to itself", "pod on node-0")


def test_without_dns_only_names_are_skipped(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
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
        ({}, "is Pending, not ready: it gave no reason"),
    ],
)
def test_pod_that_is_not_ready_fails_with_its_reason(
    run: Run, capsys: pytest.CaptureFixture[str], status: dict[str, Any], reason: str
) -> None:
    lab = Lab(failing={"wait daemonset/web": CommandError("timed out waiting for the condition")})
    lab.items[1]["status"] = status
    assert run(lab, "--stack", "dev", "--json") == 1
    found = rows(capsys.readouterr().out)
    assert [(row["to"], row["reason"]) for row in found if row["result"] == "failed"] == [("pod on node-1", reason)]
    assert [(row["check"], row["from"], row["to"]) for row in found if row["result"] == "skipped"] == [
        ("pod to pod", "pod on node-0", "pod on node-1"),
        ("pod to pod", "pod on node-1", "pod on node-0"),
        ("Service by address", "pod on node-1", f"Service {SERVICE}"),
        ("Service refuses", "pod on node-1", f"Service {SERVICE} port 81"),
        ("pod to itself", "pod on node-1", f"Service {OWN}"),
        ("Service by name", "pod on node-1", "Service web"),
        ("exec", "", "pod on node-1"),
        ("pod to pod on its node", "second pod on node-1", "pod on node-1"),
        ("node to pod", "host network of node-0", "pod on node-1"),
        ("logs", "", "pod on node-1"),
    ]
    assert "exec web-of-node-1" not in lab.done


def test_node_without_a_pod_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    del lab.items[1]
    assert run(lab, "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["to"], failed["reason"]) == ("pod on node-1", "there is no pod")


def test_unscheduled_pod_names_its_node(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_failed_exec_fails_all_fetches_of_the_pod(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(failing={"exec web-of-node-0": CommandError("unable to upgrade connection")})
    assert run(lab, "--stack", "dev", "--json") == 1
    failed = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert {row["reason"] for row in failed} == {"unable to upgrade connection"}
    assert [row["check"] for row in failed] == [
        "pod to pod",
        "Service by address",
        "Service refuses",
        "pod to itself",
        "Service by name",
        "exec",
    ]


def test_webhook_may_take_a_while(run: Run) -> None:
    assert run(Lab(webhook=iter(["", "connection refused", PLAIN]))) == 0


def test_webhook_that_is_not_called_fails(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.smoke.trial.FETCH_TIMEOUT", 1)
    assert run(Lab(webhook=itertools.repeat("context deadline exceeded")), "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["check"], failed["reason"]) == ("webhook", "context deadline exceeded")


def test_incomplete_log_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab()
    lab.log = lab.log.splitlines()[0]
    assert run(lab, "--stack", "dev", "--json") == 1
    [failed] = [row for row in rows(capsys.readouterr().out) if row["result"] == "failed"]
    assert (failed["check"], failed["to"]) == ("logs", "pod on node-1")


def test_namespace_that_stays_fails(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Lab(failing={"remove": CommandError("timed out")})) == 1
    captured = capsys.readouterr()
    assert "1 failed" in captured.out
    assert "may still exist: timed out" in captured.err


@pytest.mark.parametrize("step", ["create", "list"])
def test_silent_cluster_is_no_failed_check(run: Run, capsys: pytest.CaptureFixture[str], step: str) -> None:
    lab = Lab(failing={step: CommandError("connection refused")})
    assert run(lab) == 2
    assert lab.done[-1] == "remove"
    assert "the cluster could not be tested: connection refused" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", ["create", "list"])
def test_interruption_leaves_nothing_behind(run: Run, step: str, number: signal.Signals) -> None:
    lab = Lab(before=lambda call: os.kill(os.getpid(), number) if call in (step, "remove") else None)
    with pytest.raises(KeyboardInterrupt):
        run(lab)
    assert lab.done[-1] == "remove"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_stack_that_is_not_up(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(workers=())
    lab.items = []
    assert run(lab) == 2
    assert "Bring it up first: `.lab/bin/hardway up --stack dev`" in capsys.readouterr().err
    assert lab.done == []


def test_missing_kubeconfig(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Workspace(tmp_path).kubeconfig("dev").unlink()
    assert run(Lab()) == 2
    assert "Create it: `.lab/bin/hardway access --stack dev`" in capsys.readouterr().err


def test_dev_is_the_default_stack(run: Run) -> None:
    assert run(Lab(), "--json") == 0


def test_quiet_prints_only_failed_checks(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Lab(), "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run(Lab(seen={"web-of-node-0": "10.240.0.1"}), "--quiet") == 1
    captured = capsys.readouterr()
    assert re.split("  +", captured.out.strip()) == [
        "pod to pod",
        "pod on node-0",
        "pod on node-1",
        "failed",
        "0.2",
        "web-of-node-1 10.240.0.1",
    ]
    assert captured.err == ""


def test_every_run_has_its_own_namespace(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    names = set()
    for _ in range(2):
        run(Lab(), "--stack", "dev", "--json")
        names.add(rows(capsys.readouterr().out)[-1]["to"])
    assert len(names) == 2


def test_objects_are_in_the_namespace_and_tolerate_taints() -> None:
    first, *others = yaml.safe_load_all(manifest("somewhere", ["node-0", "node-1"]))
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "somewhere")
    assert {each["metadata"].get("namespace") for each in others} == {"somewhere", None}
    assert [each["metadata"]["name"] for each in others if "namespace" not in each["metadata"]] == ["somewhere"]
    templates = [each["spec"]["template"]["spec"] for each in others if each["kind"] == "DaemonSet"]
    assert [template["tolerations"] for template in templates] == [[{"operator": "Exists"}]] * 3
    assert [template.get("hostNetwork", False) for template in templates] == [False, False, True]
    for template in templates:
        (terms,) = template["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"].values()
        assert [field["values"] for term in terms for field in term["matchFields"]] == [["node-0"], ["node-1"]]
