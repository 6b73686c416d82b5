"""Nodes that read their name and pod CIDR from user-data: their files, and `assets/node/user-data`."""

import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from lab.config.parse import load
from lab.node.node_setup import user_data
from lab.node.render import services_of
from lab.node.service import Service
from lab.spec import Node, Spec
from system.files import CHECKOUT
from tests.support.node_programs import install

BRIDGE = "/etc/cni/net.d/172-20-bridge.conflist"
TEMPLATE = "/etc/kubernetes/templates/172-20-bridge.conflist"


@pytest.fixture(scope="module")
def spec() -> Spec:
    """A lab whose nodes read their user-data."""
    return load(CHECKOUT / "Pulumi.userdata.yaml")


def service(spec: Spec, node: Node, name: str) -> Service:
    return next(each for each in services_of(spec, node) if each.name == name)


def test_only_nodes_with_pods_get_user_data(spec: Spec, dev: Spec) -> None:
    assert user_data(spec, spec.control_planes[0]) == {}
    assert user_data(spec, spec.workers[1]) == {"hardway": {"name": "worker-1", "pod-cidr": "172.20.1.0/24"}}
    assert [user_data(dev, node) for node in dev.nodes] == [{}] * 3


def test_files_of_workers_differ_only_in_addresses(spec: Spec) -> None:
    one, other = (
        {path: text for each in services_of(spec, node) for path, text in each.visible_files.items()}
        for node in spec.workers
    )
    differing = {path for path in one if one[path] != other[path]}
    assert differing == {
        "/etc/kubernetes/pod-routes",
        "/etc/systemd/system/kubelet.service",
        "/var/lib/kubelet/kubeconfig",
        "/var/lib/kubelet/kubelet-config.yaml",
    }
    unit = "/etc/systemd/system/kubelet.service"
    assert one[unit].replace("10.242.0.20", "10.242.0.21") == other[unit]


@pytest.mark.parametrize("name", ["kubelet", "kube-proxy"])
def test_units_read_the_name_from_the_environment(spec: Spec, name: str) -> None:
    text = service(spec, spec.workers[0], name).visible_files[f"/etc/systemd/system/{name}.service"]
    assert "EnvironmentFile=/etc/kubernetes/node.env\n" in text
    assert "--hostname-override=${WORKER_NAME}\n" in text
    assert "worker-0" not in text


def test_kube_proxy_configuration_has_no_name(spec: Spec) -> None:
    files = service(spec, spec.workers[0], "kube-proxy").visible_files
    configuration = yaml.safe_load(files["/var/lib/kube-proxy/kube-proxy-config.yaml"])
    assert "hostnameOverride" not in configuration
    assert configuration["clusterCIDR"] == "172.20.0.0/16"


def test_template_differs_only_in_the_pod_cidr(spec: Spec) -> None:
    without_user_data = replace(spec, identity_from_user_data=False)
    for node in spec.workers:
        template = service(spec, node, "node-setup").visible_files[TEMPLATE]
        written = service(without_user_data, node, "node-setup").visible_files[BRIDGE]
        assert template.replace("@POD_CIDR@", str(node.pod_cidr)) == written
        assert BRIDGE not in service(spec, node, "node-setup").files


def test_template_of_plugin_list_is_a_list(spec: Spec) -> None:
    listing = replace(spec, layout=replace(spec.layout, cni_bridge="/etc/cni/net.d/10-bridge.conflist"))
    setup = service(listing, listing.workers[0], "node-setup")
    template = json.loads(setup.visible_files["/etc/kubernetes/templates/10-bridge.conflist"])
    assert [plugin["type"] for plugin in template["plugins"]] == ["bridge", "portmap"]
    assert template["plugins"][0]["ipam"]["ranges"] == [[{"subnet": "@POD_CIDR@"}]]
    arguments = setup.health.partition("user-data check ")[2].split()
    assert arguments[:2] == ["/etc/kubernetes/templates/10-bridge.conflist", "/etc/cni/net.d/10-bridge.conflist"]


def test_health_checks_the_rendered_files(spec: Spec) -> None:
    setup = service(spec, spec.workers[0], "node-setup")
    arguments = setup.health.partition("user-data check ")[2]
    assert arguments == f"{TEMPLATE} {BRIDGE} /etc/kubernetes/node.env"
    unit = setup.visible_files["/etc/systemd/system/node-setup.service"]
    commands = [line for line in unit.splitlines() if line.startswith(("ExecStart=", "ExecReload="))]
    assert len(commands) == 2
    assert all(line.endswith(f" {arguments}") for line in commands)


@dataclass
class Machine:
    """A machine in a folder, with a template and the user-data of a worker."""

    folder: Path

    def __post_init__(self) -> None:
        self.user_data = self.folder / "user-data.txt"
        self.template = self.folder / "template"
        self.bridge = self.folder / "bridge.conf"
        self.environment = self.folder / "node.env"
        self.template.write_text('{"subnet": "@POD_CIDR@"}\n')
        self.give(hostname="worker-0", hardway={"name": "worker-0", "pod-cidr": "172.20.0.0/24"}, users=[{"name": "x"}])

    def give(self, **keys: object) -> None:
        """Give the machine user-data."""
        self.user_data.write_text("#cloud-config\n" + yaml.safe_dump(keys, sort_keys=False))

    def run(self, verb: str, file: Path | None = None) -> str:
        """Run the program. Return its message if it fails, otherwise an empty text."""
        programs = install(
            self.folder / "node",
            CLOUD_INIT_USER_DATA=str(self.user_data),
            RENDERED_FROM_USER_DATA=str(self.folder / "made"),
        )
        files = [str(path) for path in (self.template, file or self.bridge, self.environment)]
        result = subprocess.run([programs / "user-data", verb, *files], capture_output=True, text=True, check=False)
        assert result.stderr == ""
        assert (result.returncode == 0) == (result.stdout == "")
        return result.stdout.strip()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that has not read its user-data yet."""
    return Machine(tmp_path)


def test_files_are_rendered_from_user_data(machine: Machine) -> None:
    assert machine.run("render") == ""
    assert json.loads(machine.bridge.read_text()) == {"subnet": "172.20.0.0/24"}
    assert machine.environment.read_text() == "WORKER_NAME=worker-0\nPOD_CIDR=172.20.0.0/24\n"
    assert {path.stat().st_mode & 0o777 for path in (machine.bridge, machine.environment)} == {0o600}
    assert machine.run("check") == ""


@pytest.mark.parametrize("name", ["on", "n0", "null", "a.b-c", "1e3", "node-0.example.com", "1.e", "2001-12-14.x"])
def test_name_is_read_in_every_yaml_style(machine: Machine, name: str) -> None:
    machine.give(hardway={"pod-cidr": "10.0.0.0/8", "other": "x", "name": name})
    assert machine.run("render") == ""
    assert f"WORKER_NAME={name}\n" in machine.environment.read_text()


def test_other_names_in_user_data_are_ignored(machine: Machine) -> None:
    machine.give(
        system={"name": "a"}, hardway={"name": "worker-1", "pod-cidr": "172.20.1.0/24"}, last={"pod-cidr": "b"}
    )
    machine.run("render")
    assert machine.environment.read_text() == "WORKER_NAME=worker-1\nPOD_CIDR=172.20.1.0/24\n"


@pytest.mark.parametrize("keys", [{}, {"hardway": {"name": "worker-0"}}, {"hardway": {"pod-cidr": "10.0.0.0/8"}}])
def test_incomplete_user_data_is_reported(machine: Machine, keys: dict[str, object]) -> None:
    machine.give(hostname="worker-0", **keys)
    assert "lacks hardway.name or hardway.pod-cidr" in machine.run("render")
    assert not machine.bridge.exists()


def test_missing_user_data_is_reported(machine: Machine) -> None:
    machine.user_data.unlink()
    assert "started without user-data" in machine.run("render")


def test_changed_or_missing_files_are_restored(machine: Machine) -> None:
    machine.run("render")
    for path, damage in (
        (machine.bridge, lambda: machine.bridge.write_text("{}")),
        (machine.bridge, machine.bridge.unlink),
        (machine.environment, lambda: machine.environment.write_text("WORKER_NAME=other\n")),
        (machine.template, lambda: machine.template.write_text('{"mtu": 1400, "subnet": "@POD_CIDR@"}\n')),
    ):
        damage()
        wrong_file = machine.bridge if path == machine.template else path
        assert machine.run("check").startswith(f"{wrong_file} does not match ")
        assert machine.run("render") == ""
        assert machine.run("check") == ""


def test_correct_files_are_not_written_again(machine: Machine) -> None:
    machine.run("render")
    before = machine.bridge.stat()
    machine.run("render")
    after = machine.bridge.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("name", ["20-bridge.conf", "bridge.conflist"])
def test_renamed_file_replaces_the_old_one(machine: Machine, name: str) -> None:
    machine.run("render")
    other = machine.folder / name
    machine.run("render", other)
    assert other.exists()
    assert not machine.bridge.exists()
