"""The state that `python3 -m ops.status` shows, with fake pulumi, kubectl, ssh and virsh."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from host.access.ssh import Login
from host.engine import stopped
from host.workspace import Workspace
from lab.deprecated_apis import DeprecatedApi
from lab.node.kubeconfig import embedded
from lab.upgrade import ApiServerVersion
from ops.clients import CommandError, Commands
from ops.status.__main__ import main
from tests.support.certificates import pair
from tests.support.changes import default_configuration
from tests.support.program_stack import HOSTS

ADDRESSES = {"server": "10.240.0.10", "node-0": "10.240.0.20", "node-1": "10.240.0.21"}
SERVICES = {"server": ["etcd", "kube-apiserver"], "node-0": ["kubelet"], "node-1": ["kubelet"]}
ETCD_STATUS = {"header": {"member_id": 255}, "leader": 255, "version": "3.7.3", "dbSize": 2097152}
ETCD_MEMBERS = {"members": [{"ID": 255, "name": "server", "peerURLs": ["https://10.240.0.10:2380"]}]}


def certificate(days: float) -> str:
    """Return a certificate that expires in some days, as a node prints it."""
    now = datetime.now(UTC)
    text, _ = pair("system:node:node-0", valid=(now - timedelta(days=1), now + timedelta(days=days, minutes=5)))
    return text.replace("\n", "|")


class Lab(Commands):
    """A lab where all is well. A test replaces an answer, by an error if it should fail."""

    def __init__(self) -> None:
        self.stack: dict[str, Any] | CommandError = {
            "apiEndpoint": "https://10.240.0.10:6443",
            "certificateAuthority": "certificate",
            "nodes": {
                name: {
                    "role": "control-plane" if name == "server" else "worker",
                    "address": address,
                    "kubernetesVersion": "v1.37.2",
                    "ssh": f"ssh {name}",
                    **({} if name == "server" else {"podCidr": "10.200.0.0/24"}),
                }
                for name, address in ADDRESSES.items()
            },
            "services": {name: dict.fromkeys(services, "digest") for name, services in SERVICES.items()},
            "sshKey": "private",
            "knownHosts": "".join(f"{address} ssh-ed25519 key\n" for address in ADDRESSES.values()),
            "kubeconfig": "kubeconfig",
        }
        self.lines: dict[str, list[str] | CommandError] = {
            name: [
                *(f"service\t{service}\t{service}.service\tactive\t3600" for service in services),
                *(f"health\t{service}\tok\t" for service in services),
            ]
            for name, services in SERVICES.items()
        }
        self.add("server", f"etcd\tstatus\t{json.dumps([{'Status': ETCD_STATUS}])}")
        self.add("server", f"etcd\tmembers\t{json.dumps(ETCD_MEMBERS)}")
        self.add("node-0", f"certificate\tkubelet\t/var/lib/kubelet/kubelet.crt\t{certificate(90)}")
        self.items: list[dict[str, Any]] | CommandError = [
            {
                "metadata": {"name": name},
                "status": {
                    "conditions": [{"type": "Ready", "status": "True"}],
                    "nodeInfo": {"kubeletVersion": "v1.37.2", "containerRuntimeVersion": "containerd://2.4.2"},
                },
            }
            for name in ("node-0", "node-1")
        ]
        self.version = {"gitVersion": "v1.37.2"}
        self.deprecated: list[DeprecatedApi] | CommandError = []
        self.vms: dict[str, str | CommandError] = dict.fromkeys(ADDRESSES, "running")
        self.uris = dict.fromkeys(ADDRESSES, "qemu:///system")

    def add(self, node: str, line: str) -> None:
        """Add a line to the answer of a node."""
        lines = self.lines[node]
        assert isinstance(lines, list)
        lines.append(line)

    def replace(self, node: str, old: str, new: str) -> None:
        """Replace a text in the answer of a node."""
        lines = self.lines[node]
        assert isinstance(lines, list)
        assert any(old in line for line in lines)
        self.lines[node] = [line.replace(old, new) for line in lines]

    def outputs(self, stack: str) -> Mapping[str, Any]:
        assert stack == "dev"
        if isinstance(self.stack, CommandError):
            raise self.stack
        return self.stack

    def run(
        self,
        login: Login,
        command: Sequence[str],
        *,
        stdin: str = "",
        timeout: float = 900,
        options: Sequence[str] = (),
    ) -> str:
        assert command == ["bash", "-s"]
        assert stdin.endswith("main </dev/null\n")
        assert timeout <= 120
        assert options
        [name] = [name for name, address in ADDRESSES.items() if address == login.address]
        lines = self.lines[name]
        if isinstance(lines, CommandError):
            raise lines
        return "\n".join([*lines, "end\n"])

    def nodes(self, kubeconfig: str | None) -> Mapping[str, Any]:
        assert isinstance(self.stack, dict)
        assert kubeconfig == self.stack["kubeconfig"]
        if isinstance(self.items, CommandError):
            raise self.items
        return {"items": self.items}

    def api_version(self, kubeconfig: str | None) -> ApiServerVersion:
        assert isinstance(self.stack, dict)
        assert kubeconfig == self.stack["kubeconfig"]
        if isinstance(self.items, CommandError):
            raise self.items
        return ApiServerVersion.of(self.version)

    def deprecated_apis(self, kubeconfig: str | None) -> list[DeprecatedApi]:
        assert kubeconfig == "kubeconfig"
        if isinstance(self.deprecated, CommandError):
            raise self.deprecated
        return self.deprecated

    def vm_state(self, libvirt_uri: str, domain: str) -> str:
        node = domain.removeprefix("hardway-")
        assert libvirt_uri == self.uris[node]
        answer = self.vms[node]
        if isinstance(answer, CommandError):
            raise answer
        return answer


@pytest.fixture
def lab() -> Lab:
    """Return a lab where all is well."""
    return Lab()


@pytest.fixture(autouse=True)
def user_kubeconfigs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of users' kubeconfigs on this machine, at first empty."""
    files: list[Path] = []
    monkeypatch.setattr(Workspace, "user_kubeconfigs", lambda *_: files)
    return files


Problems = Callable[[Lab], list[str]]


@pytest.fixture
def problems(capsys: pytest.CaptureFixture[str]) -> Problems:
    """Return a function that returns the problems of a lab."""

    def run(lab: Lab) -> list[str]:
        code = main(["--json"], lab)
        document = json.loads(capsys.readouterr().out)
        assert code == (1 if document["problems"] else 0)
        assert document["well"] is (code == 0)
        return [f"{each['part']}: {each['problem']}" for each in document["problems"]]

    return run


def document(lab: Lab, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command and return its JSON document."""
    main(["--json"], lab)
    return json.loads(capsys.readouterr().out)


def test_json_shape(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(lab, capsys)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.pop("time"))
    [etcd, _, kubelet, _] = found.pop("services")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", etcd.pop("since"))
    assert kubelet["node"] == "node-0"
    assert etcd == {
        "node": "server",
        "service": "etcd",
        "unit": "etcd.service",
        "active": "active",
        "healthy": True,
        "reason": "",
    }
    [certificate] = found.pop("certificates")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", certificate.pop("end"))
    assert certificate == {
        "node": "node-0",
        "service": "kubelet",
        "path": "/var/lib/kubelet/kubelet.crt",
        "commonName": "system:node:node-0",
        "daysLeft": 90.0,
        "expiring": False,
    }
    [server, node, _] = found.pop("nodes")
    assert server["ready"] is None
    assert node == {
        "name": "node-0",
        "role": "worker",
        "address": "10.240.0.20",
        "podCidr": "10.200.0.0/24",
        "version": "v1.37.2",
        "runtime": "containerd://2.4.2",
        "ready": True,
        "reachable": True,
        "clockSkew": 0.0,
        "vm": "running",
    }
    assert found == {
        "stack": "dev",
        "well": True,
        "problems": [],
        "notes": [],
        "versions": {"kubernetes": ["v1.37.2"], "apiServer": "v1.37.2", "emulated": None, "etcd": ["3.7.3"]},
        "etcd": [
            {
                "member": "server",
                "id": "ff",
                "leader": True,
                "learner": False,
                "version": "3.7.3",
                "databaseBytes": 2097152,
            }
        ],
    }


def test_text_of_a_healthy_lab(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], lab) == 0
    lines = [re.sub("  +", "  ", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ("Stack dev at https://10.240.0.10:6443: API server v1.37.2, nodes v1.37.2, etcd 3.7.3")
    assert "node-0  worker  yes  v1.37.2  10.240.0.20  10.200.0.0/24  running" in lines
    assert "server  control-plane  -  v1.37.2  10.240.0.10  -  running" in lines
    assert "node-1  kubelet  active  yes  1h 0m" in lines
    assert "server  ff  yes  3.7.3  2.0 MiB" in lines
    assert any(line.startswith("node-0  kubelet  90  ") for line in lines)
    assert lines[-1] == "All is well."


def test_emulated_version_is_shown(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.version |= {"emulationMajor": "1", "emulationMinor": "36"}
    assert document(lab, capsys)["versions"]["emulated"] == "v1.36"
    assert main([], lab) == 0
    assert "API server v1.37.2, which emulates v1.36, nodes v1.37.2" in capsys.readouterr().out


def test_deprecated_apis_are_notes_of_verbose_only(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.deprecated = [DeprecatedApi(removed_minor=38, name="apps/v1beta1 scales")]
    assert main(["--verbose"], lab) == 0
    assert "note     API server: clients use apps/v1beta1 scales, which v1.38 removes\n" in capsys.readouterr().out
    assert main([], lab) == 0
    assert "v1beta1" not in capsys.readouterr().out


def test_unknown_deprecated_apis_are_a_note(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.deprecated = CommandError("forbidden")
    assert main(["--verbose"], lab) == 0
    assert "note     API server: the deprecated APIs in use are unknown: forbidden\n" in capsys.readouterr().out


def test_watch_does_not_read_the_metrics(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    lab.deprecated = [DeprecatedApi(removed_minor=38, name="apps/v1beta1 scales")]
    assert main(["--verbose", "--watch"], lab, sleep=interrupt) == 0
    assert "v1beta1" not in capsys.readouterr().out


def test_quiet_prints_only_problems(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quiet"], lab) == 0
    assert capsys.readouterr().out == ""
    lab.lines["node-0"] = CommandError("No route to host")
    assert main(["--quiet"], lab) == 1
    assert capsys.readouterr().out == "PROBLEM  node-0: does not answer: No route to host\n"


def test_silent_node_does_not_hide_the_others(lab: Lab, problems: Problems, capsys: pytest.CaptureFixture[str]) -> None:
    lab.lines["node-0"] = CommandError("No route to host")
    assert problems(lab) == ["node-0: does not answer: No route to host"]
    found = document(lab, capsys)
    assert [node["reachable"] for node in found["nodes"]] == [True, False, True]
    assert {service["node"] for service in found["services"]} == {"server", "node-1"}


def test_incomplete_answer_is_no_answer(lab: Lab, problems: Problems) -> None:
    lab.add("node-0", "Welcome!")
    assert problems(lab) == ["node-0: does not answer: its answer has an invalid line: 'Welcome!'"]


def test_silent_api_server(lab: Lab, problems: Problems, capsys: pytest.CaptureFixture[str]) -> None:
    lab.items = CommandError("connection refused")
    assert problems(lab) == ["API server: does not answer: connection refused"]
    found = document(lab, capsys)
    assert found["versions"]["apiServer"] is None
    assert {node["ready"] for node in found["nodes"]} == {None}


def test_without_administrator_the_api_server_is_a_note(
    lab: Lab, problems: Problems, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(lab.stack, dict)
    del lab.stack["kubeconfig"]
    assert problems(lab) == []
    assert [note["part"] for note in document(lab, capsys)["notes"]] == ["API server"]


def test_node_that_is_not_ready(lab: Lab, problems: Problems) -> None:
    assert isinstance(lab.items, list)
    lab.items[0]["status"]["conditions"] = [{"type": "Ready", "status": "False", "message": "no network"}]
    assert problems(lab) == ["node-0: is not Ready: no network"]


def test_node_that_is_not_in_the_cluster(lab: Lab, problems: Problems) -> None:
    assert isinstance(lab.items, list)
    del lab.items[0]
    assert problems(lab) == ["node-0: is not in the cluster"]


def test_node_of_another_version(lab: Lab, problems: Problems) -> None:
    assert isinstance(lab.items, list)
    lab.items[0]["status"]["nodeInfo"]["kubeletVersion"] = "v1.35.4"
    assert problems(lab) == ["node-0: its kubelet runs v1.35.4, not v1.37.2"]


def test_inactive_service(lab: Lab, problems: Problems) -> None:
    lab.replace("node-0", "active\t3600", "failed\t")
    assert problems(lab) == ["node-0: kubelet is failed, not active"]


def test_unhealthy_service(lab: Lab, problems: Problems) -> None:
    lab.replace("node-0", "ok\t", "failed\tnot Ready")
    assert problems(lab) == ["node-0: kubelet is not healthy: not Ready"]


def test_missing_service(lab: Lab, problems: Problems) -> None:
    lab.lines["node-0"] = []
    assert problems(lab) == ["node-0: kubelet is not on the node"]


@pytest.mark.parametrize(
    ("days", "problem"),
    [
        (31, ""),
        (29, r"expires on \d{4}-\d\d-\d\d \d\d:\d\d UTC, in 29\.0 days; the next `hardway up` renews it"),
        (-0.5, r"expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC; the next `hardway up` renews it"),
    ],
)
def test_expiring_certificate(lab: Lab, problems: Problems, days: float, problem: str) -> None:
    lab.add("node-1", f"certificate\tkubelet\t/kubelet.crt\t{certificate(days)}")
    found = problems(lab)
    assert bool(found) is bool(problem)
    assert all(re.fullmatch(f"node-1: the certificate /kubelet.crt {problem}", each) for each in found)


@pytest.mark.parametrize(("days", "count"), [(1, 0), (-1, 1)])
def test_issued_certificate_of_a_kubelet_is_not_renewed_by_up(
    lab: Lab, problems: Problems, days: float, count: int
) -> None:
    lab.add("node-1", f"certificate\tkubelet\t/pki/kubelet-client-current.pem\t{certificate(days)}")
    found = problems(lab)
    assert len(found) == count
    assert all(
        each.endswith("; its kubelet should have renewed it, and logs why not: journalctl --unit kubelet")
        for each in found
    )


def kubeconfig(days: float, name: str = "alice", group: str = "developers") -> str:
    """Return a kubeconfig whose certificate expires in some days."""
    now = datetime.now(UTC)
    valid = (now - timedelta(days=2), now + timedelta(days=days, minutes=5))
    certificate, key = pair(name, organization=group, valid=valid)
    texts = {"authority": pair("kubernetes-ca")[0], "certificate": certificate, "key": key}
    return embedded(server="https://10.240.0.10:6443", texts=texts, user=name, cluster="hardway")


@pytest.mark.parametrize(("days", "count"), [(31, 0), (29, 1), (-1, 1)])
def test_expiring_certificate_of_the_administrator(lab: Lab, problems: Problems, days: float, count: int) -> None:
    assert isinstance(lab.stack, dict)
    lab.stack["kubeconfig"] = kubeconfig(days, "admin", "system:masters")
    found = problems(lab)
    assert len(found) == count
    for each in found:
        assert each.startswith("kubeconfig: the certificate of the administrator expire")
        assert each.endswith("; the next `hardway up` renews it")


def test_next_renewal_is_a_note(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.add("node-1", f"certificate\tkubelet\t/kubelet.crt\t{certificate(35)}")
    found = document(lab, capsys)
    assert found["problems"] == []
    [note] = found["notes"]
    assert note["part"] == "certificates"
    assert "UTC on, `hardway up` renews a certificate, and restarts" in note["problem"]


def test_expired_kubeconfig_of_a_user_is_a_note(
    lab: Lab, user_kubeconfigs: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = {"alice": kubeconfig(-1), "bob": kubeconfig(1, "bob"), "notes": "not a kubeconfig"}
    for name, text in files.items():
        path = tmp_path / f"kubeconfig-{name}"
        path.write_text(text)
        user_kubeconfigs.append(path)
    found = document(lab, capsys)
    assert found["well"]
    [note] = found["notes"]
    assert note["part"] == "kubeconfig-alice"
    assert re.fullmatch(
        r"expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC; renew it with `hardway access --user alice --group developers`, "
        f"or delete {tmp_path}/kubeconfig-alice",
        note["problem"],
    )


def test_unconfirmed_changes_are_a_note(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.add("node-0", "unconfirmed\tcontainerd\t90")
    lab.add("node-0", "unconfirmed\tkubelet\t90")
    assert main([], lab) == 0
    text = "node-0: returns to the version before in 90 s, unless `hardway confirm` is run: containerd, kubelet"
    assert f"note     {text}\n" in capsys.readouterr().out


def test_unreadable_certificate(lab: Lab, problems: Problems) -> None:
    lab.add("node-1", "certificate\tkubelet\t/kubelet.crt\t-----BEGIN CERTIFICATE-----|")
    assert problems(lab) == ["node-1: the certificate in /kubelet.crt cannot be read"]


def test_text_shows_only_certificates_that_matter(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.add("node-0", f"certificate\tkubelet\t/later.crt\t{certificate(300)}")
    main([], lab)
    assert "/later.crt" not in capsys.readouterr().out
    main(["--verbose"], lab)
    assert "/later.crt" in capsys.readouterr().out


def test_stopped_vm(lab: Lab, problems: Problems) -> None:
    lab.vms["node-1"] = "shut off"
    assert problems(lab) == ["node-1: its VM is shut off"]


def test_stopped_lab_is_reported_without_asking_it(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.stack = CommandError("the stack is not read")
    stopped.write(Workspace(tmp_path), "dev")
    assert main([], lab, tmp_path) == 1
    assert re.fullmatch(
        r"Stack dev\n\nPROBLEM  lab: Stack dev has been stopped since 2\S+\. "
        r"Start it: `\.lab/bin/hardway start --stack dev`\n1 problem\.\n",
        capsys.readouterr().out,
    )
    assert main(["--json"], lab, tmp_path) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["well"], document["nodes"], len(document["problems"])) == (False, [], 1)


def test_silent_libvirt(lab: Lab, problems: Problems) -> None:
    lab.vms["node-1"] = CommandError("virsh is not on PATH")
    assert problems(lab) == ["node-1: the state of its VM is unknown: virsh is not on PATH"]


def test_silent_host_is_named(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(lab.stack, dict)
    values = default_configuration() | {"hosts": HOSTS, "network": "shared"}
    (tmp_path / "Pulumi.dev.yaml").write_text(json.dumps({"config": values}))
    for node, host in (("server", "a"), ("node-0", "b"), ("node-1", "c")):
        lab.stack["nodes"][node]["host"], lab.uris[node] = host, HOSTS[host]["uri"]
    lab.vms["node-1"] = CommandError("failed to connect")
    assert main(["--json"], lab, tmp_path) == 1
    assert [found["problem"] for found in json.loads(capsys.readouterr().out)["problems"]] == [
        f"the state of its VM on host c ({HOSTS['c']['uri']}) is unknown: failed to connect"
    ]


def test_missing_etcdctl_is_a_note(lab: Lab, problems: Problems, capsys: pytest.CaptureFixture[str]) -> None:
    lines = lab.lines["server"]
    assert isinstance(lines, list)
    lab.lines["server"] = [*lines[:-2], "etcd\tmissing\tetcdctl is not on this node"]
    assert problems(lab) == []
    found = document(lab, capsys)
    assert found["etcd"] == []
    assert found["notes"] == [
        {"part": "server", "problem": "the state of etcd is unknown: etcdctl is not on this node"}
    ]


def test_silent_etcd(lab: Lab, problems: Problems) -> None:
    lines = lab.lines["server"]
    assert isinstance(lines, list)
    lab.lines["server"] = [*lines[:-2], "etcd\tfailed\tdeadline exceeded"]
    assert problems(lab) == ["server: etcd does not answer: deadline exceeded"]


def test_etcd_without_leader(lab: Lab, problems: Problems) -> None:
    lab.replace("server", '"leader": 255', '"leader": 0')
    assert problems(lab) == ["etcd: has no leader"]


def test_etcd_alarm(lab: Lab, problems: Problems) -> None:
    lab.replace("server", '"leader": 255', '"leader": 255, "errors": ["memberID:255 alarm:NOSPACE "]')
    assert problems(lab) == [
        "server: etcd has the alarm NOSPACE: its database has reached the quota, so that it refuses to write. See "
        "docs/operations.md, A full database"
    ]


def test_new_etcd_member_is_named_by_its_url(lab: Lab, problems: Problems) -> None:
    lab.replace("server", '"name": "server", ', "")
    assert problems(lab) == []


def test_etcd_members_that_are_wrong(lab: Lab, problems: Problems, capsys: pytest.CaptureFixture[str]) -> None:
    others = [{"ID": 16, "name": "old"}, {"ID": 17, "name": "new", "isLearner": True}]
    lab.replace("server", json.dumps(ETCD_MEMBERS), json.dumps({"members": [*ETCD_MEMBERS["members"], *others]}))
    assert problems(lab) == [
        "etcd: member old is no control plane of the stack",
        "etcd: member new is still a learner and has no vote",
        "etcd: member new is no control plane of the stack",
    ]
    assert document(lab, capsys)["etcd"][1] == {
        "member": "old",
        "id": "10",
        "leader": False,
        "learner": False,
        "version": None,
        "databaseBytes": None,
    }


def test_control_plane_outside_of_etcd(lab: Lab, problems: Problems) -> None:
    assert isinstance(lab.stack, dict)
    lab.stack["nodes"]["node-1"]["role"] = "control-plane"
    assert problems(lab) == ["etcd: control plane node-1 is no member"]


def test_unreadable_configuration_is_a_problem(lab: Lab, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--quiet"], lab, tmp_path) == 1
    assert "configuration: cannot be read: There is no stack file" in capsys.readouterr().out


def test_unreadable_stack(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.stack = CommandError("no stack named 'dev' found")
    assert main([], lab) == 2
    assert capsys.readouterr().err == "hardway: the stack could not be read: no stack named 'dev' found\n"


def test_stack_never_brought_up(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.stack = {}
    assert main([], lab) == 2
    assert "bring the lab up first" in capsys.readouterr().err


def test_watch_repeats_until_interrupted(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        lab.vms["node-1"] = "paused"
        if len(waits) == 2:
            raise KeyboardInterrupt

    assert main(["--json", "--watch", "7"], lab, sleep=sleep) == 1
    assert waits == [7, 7]
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["well"], second["well"]) == (True, False)


def test_terminal_gets_tables(lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    lab.vms["node-1"] = "paused"
    assert main([], lab) == 1
    printed = capsys.readouterr().out
    assert "READY" in printed
    assert "PROBLEM  node-1: its VM is paused" in printed


def test_wrong_clock_is_a_problem(lab: Lab, problems: Problems) -> None:
    lab.add("node-0", f"clock\t{time.time() - 90:.6f}")
    [problem] = problems(lab)
    assert re.match(r"node-0: its clock is (89|9\d) s behind that of this machine; `hardway up` corrects it", problem)
