import subprocess

from lab.node import paths
from lab.node.units import ASSETS
from lab.versions import node_packages
from toolchain import vm_image


def test_shell_reads_every_variable_of_the_environment() -> None:
    lines = paths.node_environment().splitlines()
    names = [line.partition("=")[0] for line in lines if line.partition("=")[0].isupper()]
    assert {"SERVICES", "STORE", "ETCDCTL", "NODE_PACKAGES"} <= set(names)
    for name in names:
        script = f'set -eu\n{paths.node_environment()}\nprintf %s "${name}"'
        value = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
        assert value == str(getattr(paths, name, value))
        assert value


def test_environment_lists_packages_without_the_load_balancer() -> None:
    script = f'{paths.node_environment()}\nprintf %s "$NODE_PACKAGES"'
    listed = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout
    pairs = dict(line.split() for line in listed.splitlines())
    assert pairs["ip"] == "iproute2"
    assert set(pairs.values()) == {
        package.name for package in node_packages().values() if package.command and not package.load_balancer
    }


def test_vm_image_has_the_store_of_a_node() -> None:
    assert f"/{vm_image.STORE}" == paths.STORE


def test_host_marks_routes_as_nodes_do() -> None:
    assert f"\nprotocol={paths.ROUTE_PROTOCOL_NUMBER} " in (ASSETS / "host" / "pod-routes").read_text()
