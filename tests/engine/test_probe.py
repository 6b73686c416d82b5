"""`hardway probe` with a real sshd as a node, real web servers, and an API server that a test controls."""

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from host.access.ssh import Login, known_host
from host.workspace import Workspace
from lab.node.kubeconfig import embedded
from ops.clients import CommandError, Commands
from ops.probe import measure
from ops.probe.cluster import ProbedCluster
from ops.probe.sampler import TargetSampler
from ops.probe.targets import OUTSIDE, Target
from ops.probe.timeline import Outcome
from ops.probe.tunnel import Tunnel
from ops.probe.web import WebClient
from tests.support.certificates import AUTHORITY, pair
from tests.support.http_server import serving_http
from tests.support.ssh_server import SshServer, free_port
from tests.support.tcp_relay import Relay
from tests.support.waiting import wait_until

CREATED = "2026-01-02T03:04:05Z"
TIMEOUT = 5.0


class Web(BaseHTTPRequestHandler):
    """Answers every request, as the pods of the probe do."""

    failing: ClassVar[bool] = False

    def do_GET(self) -> None:
        self.send_response(500 if self.failing else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    server = SshServer(tmp_path_factory.mktemp("sshd") / "ssh")
    yield server
    server.stop()


@pytest.fixture
def wire(sshd: SshServer) -> Iterator[Relay]:
    """The connection to the node, which a test can break."""
    relay = Relay(sshd.port)
    yield relay
    relay.close()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a web server."""
    monkeypatch.setattr(Web, "failing", False)
    with serving_http(Web) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture
def login(sshd: SshServer, wire: Relay) -> Login:
    return Login(
        address="127.0.0.1", key=sshd.key("user_key"), host_key=sshd.key("host_key.pub").strip(), port=wire.port
    )


@asynccontextmanager
async def sampling(tunnel: Tunnel) -> AsyncIterator[TargetSampler]:
    """Ask a web server through a node until the context ends."""
    connection = asyncio.create_task(tunnel.run())
    client = WebClient(partial(tunnel.open, "web"), "web")
    loop = asyncio.get_running_loop()
    began = loop.time()
    ask = partial(client.request, "GET", "/")
    sampler = TargetSampler(ask, lambda: loop.time() - began, interval=0.05, timeout=TIMEOUT, tunnel=tunnel)
    await until(lambda: not tunnel.trouble)
    task = asyncio.create_task(sampler.run())
    try:
        yield sampler
    finally:
        sampler.stop()
        await task
        connection.cancel()
        await asyncio.gather(connection, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not condition():
            await asyncio.sleep(0.02)


def outcomes(sampler: TargetSampler) -> list[Outcome]:
    return [run.outcome for run in sampler.timeline.runs]


def tunnel_to(port: int, folder: Path, login: Login) -> Tunnel:
    return Tunnel(folder / "node", login, {"web": f"127.0.0.1:{port}"})


@pytest.mark.parametrize("failure", ["cut", "fall_silent"])
def test_time_without_ssh_is_unknown(tmp_path: Path, login: Login, wire: Relay, web: int, failure: str) -> None:
    async def run() -> None:
        async with sampling(tunnel_to(web, tmp_path, login)) as sampler:
            await until(lambda: outcomes(sampler) == [Outcome.OK])
            getattr(wire, failure)()
            await until(lambda: outcomes(sampler) == [Outcome.OK, Outcome.UNKNOWN])
            if failure == "cut":
                await until(lambda: len(outcomes(sampler)) == 3)
        assert outcomes(sampler) == [Outcome.OK, Outcome.UNKNOWN, Outcome.OK][: len(outcomes(sampler))]
        assert sampler.timeline.runs[1].error.startswith("ssh")

    asyncio.run(run())


def test_failure_of_the_target_is_one_while_ssh_works(
    tmp_path: Path, login: Login, web: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with sampling(tunnel_to(web, tmp_path, login)) as sampler:
            await until(lambda: outcomes(sampler) == [Outcome.OK])
            monkeypatch.setattr(Web, "failing", True)
            await until(lambda: outcomes(sampler) == [Outcome.OK, Outcome.FAILED])

    asyncio.run(run())


def test_port_without_a_server_is_a_failure(tmp_path: Path, login: Login) -> None:
    async def run() -> None:
        async with sampling(tunnel_to(free_port(), tmp_path, login)) as sampler:
            await until(lambda: outcomes(sampler) == [Outcome.FAILED])
        assert "closed without an answer" in sampler.timeline.runs[0].error

    asyncio.run(run())


class ApiServer(BaseHTTPRequestHandler):
    """An API server with one node and two pods."""

    protocol_version = "HTTP/1.1"
    writes: ClassVar[int] = 0
    written: ClassVar[set[bytes]] = set()
    deleted: ClassVar[bool] = False
    lists_of_deleted: ClassVar[int] = 0

    def do_GET(self) -> None:
        pod: dict[str, Any] = {
            "metadata": {"uid": "1", "namespace": "probed", "name": "web-a", "creationTimestamp": CREATED},
            "spec": {"nodeName": "node-0"},
            "status": {"containerStatuses": [{"name": "web", "restartCount": int(self.deleted)}]},
        }
        if self.deleted:
            pod["metadata"]["deletionTimestamp"] = CREATED
            type(self).lists_of_deleted += self.path.endswith("/pods")
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": CREATED}]
        node = {"metadata": {"name": "node-0"}, "status": {"conditions": conditions}}
        self.answer({"items": [node] if self.path.endswith("/nodes") else [pod]})

    def do_PATCH(self) -> None:
        self.written.add(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).writes += 1
        self.answer({})

    def answer(self, document: Mapping[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class FakeCluster(ProbedCluster):
    """A cluster whose objects exist already."""

    lab: "Lab"

    def create(self, manifest: str) -> None:
        assert self.namespace in manifest
        self.lab.done.append("create")

    def wait_for_rollout(self, workload: str) -> None:
        self.lab.done.append(f"wait {workload}")
        self.lab.waiting()

    def targets(self, nodes: Mapping[str, str]) -> list[Target]:
        assert nodes == {"node-0": "127.0.0.1"}
        return list(self.lab.targets)

    def remove(self) -> None:
        self.lab.done.append("remove")
        if self.lab.stays:
            raise CommandError("timed out")


class Lab(Commands):
    """A stack with one node, which is a real sshd, and the calls of the program that measures."""

    def __init__(self, login: Login, targets: Sequence[Target]) -> None:
        self.login = login
        self.targets = list(targets)
        self.done: list[str] = []
        self.stays = False
        self.waiting: Callable[[], None] = lambda: None

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack == "dev"
        node = {"role": "worker", "address": "127.0.0.1", "kubernetesVersion": "v1.37.2", "ssh": "ssh"}
        return {
            "apiEndpoint": "https://127.0.0.1:6443",
            "certificateAuthority": "certificate",
            "nodes": {"node-0": {**node, "podCidr": "10.0.0.0/24", "user": "root", "port": self.login.port}},
            "services": {"node-0": {"kubelet": "digest"}},
            "sshKey": self.login.key,
            "knownHosts": f"{known_host('127.0.0.1', self.login.port)} {self.login.host_key}\n",
        }

    def run(self, login: Login, command: Sequence[str], **_: Any) -> str:
        assert (login, command[-1]) == (self.login, "kubelet.service")
        return "1000.00 0.00\nId=kubelet.service\nActiveEnterTimestampMonotonic=999900000\n"

    def measure(self) -> int:
        """Run the program until `stop`."""
        return measure.main(
            ["--stack=dev", "--rate=20", "--timeout=5"],
            self,
            lambda kubeconfig, namespace: FakeCluster(kubeconfig, namespace, self),
        )


@pytest.fixture
def lab(login: Login, web: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A lab that can be measured. Closing `end` of the standard input ends the measurement."""
    for name, value in (("writes", 0), ("written", set()), ("deleted", False), ("lists_of_deleted", 0)):
        monkeypatch.setattr(ApiServer, name, value)
    workspace = Workspace(tmp_path)
    monkeypatch.setattr("ops.cluster.WORKSPACE", workspace)
    certificate, key = pair("kubernetes", names=["127.0.0.1"])
    (tmp_path / "pair").write_text(certificate + key)
    targets = [
        Target(name="Service", source="node-0", address="127.0.0.1", port=web),
        Target(name="pod on node-0", source=OUTSIDE, address="127.0.0.1", port=web, pod="web-a", is_optional=True),
    ]
    with serving_http(ApiServer, tmp_path / "pair") as url:
        workspace.kubeconfig("dev").parent.mkdir(parents=True)
        texts = {"authority": pair(AUTHORITY)[0], "certificate": certificate, "key": key}
        workspace.kubeconfig("dev").write_text(embedded(server=url, texts=texts, user="admin", cluster="lab"))
        yield Lab(login, targets)


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], None]:
    """A function that ends the standard input as soon as a condition holds."""
    reading, writing = os.pipe()
    monkeypatch.setattr("sys.stdin", os.fdopen(reading))

    def end(condition: Callable[[], bool]) -> None:
        def wait() -> None:
            wait_until(condition, "the measurement can end")
            os.close(writing)

        threading.Thread(target=wait, daemon=True).start()

    return end


End = Callable[[Callable[[], bool]], None]


def test_measurement_of_a_healthy_lab(lab: Lab, end: End, capsys: pytest.CaptureFixture[str]) -> None:
    end(lambda: ApiServer.writes >= 20)
    assert lab.measure() == 0
    first, document = capsys.readouterr().out.splitlines()
    assert first == measure.MEASURING
    report = json.loads(document)
    targets = {(each["target"], each["from"]): each for each in report["targets"]}
    assert list(targets) == [
        ("API read", OUTSIDE),
        ("API write", OUTSIDE),
        ("Service", "node-0"),
        ("pod on node-0", OUTSIDE),
    ]
    # A write that changes nothing would not reach etcd.
    assert len(ApiServer.written) == ApiServer.writes
    assert {each["failures"] for each in targets.values()} == {0}
    assert min(each["requests"] for each in targets.values()) >= 5
    assert [(each["node"], each["notReady"], each["unknown"]) for each in report["nodes"]] == [("node-0", 0, 0)]
    assert [(each["service"], each["node"]) for each in report["services"]] == [("kubelet", "node-0")]
    assert (report["pods"], report["notes"]) == ([], [])
    assert lab.done == ["create", "wait deployment/web", "remove"]


def test_deleted_pod_is_asked_no_longer(lab: Lab, end: End, capsys: pytest.CaptureFixture[str]) -> None:
    def is_over() -> bool:
        ApiServer.deleted = ApiServer.writes >= 10
        return ApiServer.lists_of_deleted >= 3

    end(is_over)
    lab.measure()
    report = json.loads(capsys.readouterr().out.splitlines()[1])
    pod = report["targets"][-1]
    assert [span["state"] for span in pod["spans"]] == ["ok", "unknown"]
    assert "when its pod was deleted" in report["notes"][0]
    assert [each["change"] for each in report["pods"]] == ["container web restarted"]


def test_optional_target_is_left_out(lab: Lab, end: End, capsys: pytest.CaptureFixture[str]) -> None:
    lab.targets[1] = Target(
        name="pod on node-0", source=OUTSIDE, address="127.0.0.1", port=free_port(), is_optional=True
    )
    end(lambda: ApiServer.writes >= 3)
    assert lab.measure() == 0
    report = json.loads(capsys.readouterr().out.splitlines()[1])
    assert report["notes"] == ["pod on node-0 from this machine was left out: Connection refused"]
    assert [each["target"] for each in report["targets"]] == ["API read", "API write", "Service"]


def test_target_that_never_answers(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.probe.measurement.START_TIMEOUT", 0)
    lab.targets[0] = Target(name="Service", source=OUTSIDE, address="127.0.0.1", port=free_port())
    assert lab.measure() == 2
    assert "could not be measured: Service from this machine: Connection refused" in capsys.readouterr().err
    assert lab.done[-1] == "remove"


def test_objects_that_stay_are_named(lab: Lab, end: End, capsys: pytest.CaptureFixture[str]) -> None:
    lab.stays = True
    end(lambda: ApiServer.writes >= 1)
    assert lab.measure() == 1
    assert "may still exist: timed out" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_leaves_nothing_behind(lab: Lab, number: signal.Signals) -> None:
    lab.waiting = lambda: os.kill(os.getpid(), number)
    with pytest.raises(KeyboardInterrupt):
        lab.measure()
    assert lab.done == ["create", "wait deployment/web", "remove"]
