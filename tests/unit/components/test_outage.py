"""Repair of what somebody stopped or deleted beside the program, with fake programs."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pulumi
import pytest

from components import outage
from host.access.access_files import AccessDetails, NodeAccess, write
from host.engine import drift, stopped
from host.engine.drift import MACHINE_NETWORK, recorded_drift
from host.libvirt import observed
from host.workspace import Workspace
from lab.node.kubeconfig import embedded
from lab.spec import Spec
from system.errors import HostError
from tests.support.certificates import pair
from tests.support.fake_programs import put
from tests.support.program_stack import NEW_WORKER, changed, on_hosts

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOST = {("node-1", "kubelet"), ("node-1", "registration")}


class Place:
    """A checkout whose lab is up, with fake programs.

    Attributes:
        workspace: The checkout.
        spec: The lab.
    """

    def __init__(self, folder: Path, spec: Spec) -> None:
        self.workspace, self.spec, self._programs = Workspace(folder), spec, folder / "programs"
        self._programs.mkdir()
        self.set_nodes("node-0", "node-1")
        self.set_vms("server", "node-0", "node-1")
        nodes = {node.name: NodeAccess(address=str(node.address)) for node in spec.nodes}
        write(self.workspace, "dev", AccessDetails(nodes=nodes, ssh_key="key", known_hosts="", kubeconfig="{}"))

    def set_nodes(self, *names: str, annotations: Mapping[str, str] | None = None) -> None:
        """Make the API server list nodes."""
        status = {"nodeInfo": {"kubeletVersion": "v1.36.3"}}
        items = [{"metadata": {"name": name, "annotations": annotations or {}}, "status": status} for name in names]
        put(self._programs, "kubectl", f"echo '{json.dumps({'items': items, 'gitVersion': 'v1.36.3'})}'")

    def set_vms(self, *nodes: str) -> None:
        """Make virsh list the VMs of nodes."""
        self._vms = "".join(rf"uuid-of-{name} hardway-{name}\n" for name in nodes)
        self.stop("", "")

    def refuse(self, kubeconfig: Path) -> None:
        """Make the API server tell a kubeconfig only its version."""
        answer = (self._programs / "kubectl").read_text().partition("\n")[2]
        put(self._programs, "kubectl", f'case "$*" in "--kubeconfig {kubeconfig} get nodes"*) exit 1 ;; esac\n{answer}')

    def stop(self, what: str, table: str) -> None:
        """Make a listing of virsh show a table."""
        answer = r"\n".join(table if listing == what else r"-----\n" for listing in ("net-list", "pool-list", "list"))
        listings = f"""*--uuid*) printf '%b' '{self._vms}' ;; *net-list*) printf '%b' '{answer}' ;; *dumpxml*) ;;"""
        vms = table if what == "list" else ""
        others = f"""*" list "*) printf '%b' '{vms}' ;; *) echo "$3" >>"$0.calls" ;;"""
        put(self._programs, "virsh", f'case "$*" in {listings} {others} esac')

    def answer(self, host: str, text: str) -> None:
        """Make virsh print a text for one host, and fail for all others."""
        answer = f"""case $3 in start) echo "$2 $3 $4" >>"$0.calls" ;; dumpxml*) ;; *) printf '%b' '{text}' ;; esac"""
        put(self._programs, "virsh", f"case $2 in *{host}*) {answer} ;; *) exit 1 ;; esac")

    def silence(self) -> None:
        """Make the API server fail."""
        put(self._programs, "kubectl", "exit 1")

    def started(self) -> list[str]:
        """Return the commands of virsh that changed something."""
        path = self._programs / "virsh.calls"
        return path.read_text().splitlines() if path.exists() else []

    def recover(self) -> set[tuple[str, str]]:
        """Return what is repaired."""
        return set(outage.recover(self.spec, self.workspace, "dev", NOW).drift)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """The default lab, which is up."""
    monkeypatch.setenv("PATH", f"{tmp_path}/programs:/usr/bin:/bin")
    monkeypatch.setattr(drift, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(observed, "_accepts_connections", lambda _: True)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: False)
    monkeypatch.setattr(pulumi.log, "info", lambda _: None)
    monkeypatch.setattr(pulumi, "warn", lambda _: None)
    return Place(tmp_path, changed())


def test_complete_lab_is_left_alone(place: Place) -> None:
    assert place.recover() == set()


def test_deleted_node_registers_again(place: Place) -> None:
    place.set_nodes("node-0", "somebody-else")
    assert place.recover() == LOST
    assert recorded_drift("dev").keys() == LOST


def test_drained_node_is_registered_again(place: Place) -> None:
    place.set_nodes("node-0", "node-1", annotations={"hardway.dev/drained": "true"})
    assert place.recover() == {("node-0", "registration"), ("node-1", "registration")}


def test_versions_of_running_kubelets_are_read(place: Place) -> None:
    observation = outage.recover(place.spec, place.workspace, "dev", NOW)
    assert observation.kubelet_versions == {"node-0": "v1.36.3", "node-1": "v1.36.3"}


def test_version_of_the_api_server_is_read(place: Place) -> None:
    observation = outage.recover(place.spec, place.workspace, "dev", NOW)
    assert str(observation.api_server_version) == "v1.36.3"


def test_repaired_node_keeps_its_record(place: Place) -> None:
    # Without it, the next run would show a change.
    place.set_nodes("node-0")
    before = outage.recover(place.spec, place.workspace, "dev", NOW).drift
    place.set_nodes("node-0", "node-1")
    assert outage.recover(place.spec, place.workspace, "dev", NOW).drift == before


def test_preview_records_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    place.set_nodes("node-0")
    assert place.recover() == LOST
    assert not recorded_drift("dev")


def test_node_that_was_never_up_is_not_missed(place: Place) -> None:
    place.spec = changed(lambda values: values["workers"].append(NEW_WORKER))
    assert place.recover() == set()


def test_silent_api_server_is_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    assert place.recover() == set()
    assert warnings == []
    place.silence()
    assert place.recover() == set()
    [warning] = warnings
    assert warning.startswith(f"API server {place.spec.api_endpoint} does not answer")


def test_expired_administrator_is_reported_at_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    certificate, key = pair("admin", valid=(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC)))
    texts = {"authority": "", "certificate": certificate, "key": key}
    text = embedded(server="https://a", texts=texts, user="admin", cluster="a")
    place.workspace.kubeconfig("dev").write_text(text)
    place.silence()
    # A machine that has just started, whose API server would otherwise be waited for.
    place.stop("list", r" Id Name State\n------\n - hardway-node-1 shut off\n")
    assert place.recover() == set()
    [warning] = warnings
    assert warning.startswith("The administrator's certificate expired on 2025-12-31 00:00 UTC")
    assert "`hardway up` renews every expired certificate" in warning


def test_administrator_without_rights_is_replaced(place: Place) -> None:
    place.set_nodes("node-0")
    place.workspace.super_admin_kubeconfig("dev").touch()
    place.refuse(place.workspace.kubeconfig("dev"))
    assert place.recover() == LOST


def test_expired_certificate_of_the_lab_is_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    certificate, _ = pair("admin", valid=(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 12, 31, tzinfo=UTC)))
    place.workspace.admin_certificate("dev").write_text(certificate)
    place.silence()
    place.stop("list", r" Id Name State\n------\n - hardway-node-1 shut off\n")
    assert place.recover() == set()
    [warning] = warnings
    assert warning.startswith("The administrator's certificate expired on 2025-12-31 00:00 UTC")


def test_stopped_vm_is_started(place: Place) -> None:
    place.stop("list", r" Id Name State\n------\n - hardway-node-1 shut off\n")
    assert place.recover() == set()
    assert place.started() == ["start"]


def test_stopped_lab_counts_as_started(place: Place) -> None:
    stopped.write(place.workspace, "dev")
    place.stop("list", r" Id Name State\n------\n - hardway-node-1 saved\n")
    place.recover()
    assert place.started() == ["start", "autostart hardway-node-1"]
    assert stopped.read(place.workspace, "dev") is None


def test_interrupted_revert_changes_nothing(place: Place) -> None:
    stopped.write(place.workspace, "dev", reverting="before")
    place.stop("list", r" Id Name State\n------\n - hardway-node-1 saved\n")
    with pytest.raises(HostError, match="hardway revert before --stack dev"):
        place.recover()
    assert place.started() == []


def test_preview_starts_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    place.stop("list", r" Id Name State\n------\n - hardway-node-1 shut off\n")
    place.recover()
    assert (warnings, place.started()) == (["VM hardway-node-1 is shut off. `hardway up` starts it."], [])


def test_preview_names_a_deleted_vm(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    place.set_vms("server", "node-0")
    place.recover()
    assert warnings == []
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    place.recover()
    [warning] = warnings
    assert warning.startswith("VM hardway-node-1 does not exist in libvirt any more. `hardway up` creates it again")


def test_stopped_network_repairs_routes_and_rules(place: Place) -> None:
    place.stop("net-list", r" Name State\n------\n hardway inactive\n")
    assert place.recover() == {MACHINE_NETWORK}
    assert place.started() == ["net-start"]


def put_on_hosts(place: Place) -> None:
    """Put the VM of node-1 on a second host."""
    place.spec = changed(on_hosts({"server": "a", "node-0": "a", "node-1": "b"}))


def test_each_host_starts_its_own_vms(place: Place) -> None:
    put_on_hosts(place)
    place.answer("b.example", r"-----\n\n-----\n\n Id Name State\n------\n - hardway-node-1 shut off\n")
    place.recover()
    assert place.started() == ["qemu+ssh://root@b.example/system start hardway-node-1"]


def test_silent_host_is_named_and_its_vms_exist(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(pulumi, "warn", warnings.append)
    put_on_hosts(place)
    place.answer("a.example", r"uuid-0 hardway-node-0\n")
    observation = outage.recover(place.spec, place.workspace, "dev", NOW)
    assert observation.vm_uuids == {"hardway-server": "", "hardway-node-0": "uuid-0", "hardway-node-1": ""}
    [warning] = warnings
    assert warning.startswith(
        "host b (qemu+ssh://root@b.example/system) does not answer, so its VMs were not checked: "
    )
    assert "node-1" in warning
