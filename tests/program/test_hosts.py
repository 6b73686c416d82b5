"""VMs on several hosts: one provider, pool and image on each host that has VMs."""

from dataclasses import replace

import pytest

from lab.config.hosts import place
from lab.spec import Virtualization
from tests.support.program_stack import HOSTS, NEW_WORKER, Change, changed, on_hosts
from tests.support.recording import Program, Resource, record

PROVIDER = "pulumi:providers:libvirt"
POOL, VOLUME, DOMAIN = (f"libvirt:index/{kind}" for kind in ("pool:Pool", "volume:Volume", "domain:Domain"))
CLOUD_INIT = "libvirt:index/cloudInitDisk:CloudInitDisk"

PLACES = {"server": "a", "node-0": "b", "node-1": "b"}


def run_on(places: dict[str, str], *changes: Change) -> Program:
    """Return a run of the default lab on three hosts, with changes."""
    return record(place(changed(*changes, on_hosts(places)), {}))


@pytest.fixture(scope="module")
def run() -> Program:
    return run_on(PLACES)


def provider(run: Program, resource: Resource) -> str:
    """Return the URI of the daemon that has a libvirt resource."""
    return str(run.resources[resource.provider.rpartition("::")[0]].inputs["uri"])


def test_only_hosts_with_vms_have_resources(run: Program) -> None:
    assert sorted(each.inputs["uri"] for each in run.of_type(PROVIDER)) == [HOSTS[name]["uri"] for name in "ab"]
    assert sorted(each.name for each in run.of_type(POOL)) == ["hardway-hypervisor-a-pool", "hardway-hypervisor-b-pool"]
    sources = [each.inputs.get("source") for each in run.of_type(VOLUME)]
    assert {source: sources.count(source) for source in ("disk.qcow2", "kernel", "initrd")} == dict.fromkeys(
        ("disk.qcow2", "kernel", "initrd"), 2
    )


def test_resources_of_a_vm_are_on_its_host(run: Program) -> None:
    for node, host in (("server", "a"), ("node-0", "b"), ("node-1", "b")):
        for identity in (f"{DOMAIN} {node}-domain", f"{VOLUME} {node}-disk"):
            assert provider(run, run.by_identity[identity]) == HOSTS[host]["uri"]
        assert run.by_identity[f"{VOLUME} {node}-disk"].inputs["baseVolumeId"] == f"hardway-hypervisor-{host}-base-id"
        assert run.by_identity[f"{DOMAIN} {node}-domain"].inputs["kernel"] == f"hardway-hypervisor-{host}-kernel-id"


def test_vms_use_the_existing_network_of_their_host(run: Program) -> None:
    assert run.of_type("libvirt:index/network:Network") == []
    interfaces = [domain.inputs["networkInterfaces"][0] for domain in run.of_type(DOMAIN)]
    assert {interface["networkName"] for interface in interfaces} == {"shared"}


def test_new_worker_changes_no_resource_of_libvirt(run: Program) -> None:
    wider = run_on(PLACES | {NEW_WORKER["name"]: "c"}, lambda values: values["workers"].append(dict(NEW_WORKER)))
    assert not [identity for identity in wider.changed_since(run) if identity.startswith(("libvirt:", PROVIDER))]


def test_another_host_recreates_only_its_vm(run: Program) -> None:
    moved = run_on({"server": "a", "node-0": "b", "node-1": "c"})
    for node in ("server", "node-0", "node-1"):
        before, after = (each.by_identity[f"{DOMAIN} {node}-domain"] for each in (run, moved))
        assert (before.provider != after.provider) is (node == "node-1")
        assert before.delete_before_replace
    # The engine replaces nothing because of another provider, but the plugin replaces a volume with another pool.
    for identity in (f"{VOLUME} node-1-disk", f"{CLOUD_INIT} node-1-cloud-init"):
        pools = [each.by_identity[identity].inputs["pool"] for each in (run, moved)]
        assert pools == ["hardway-b", "hardway-c"]
    # It leaves the cluster first, as with another image.
    registration = moved.command("node-1-registration")
    assert {moved.resources[urn].name for urn in registration.replace_with} == {
        *("node-1-disk", "node-1-cloud-init", "node-1-domain")
    }


def test_nodes_get_the_same_on_every_host(run: Program) -> None:
    moved = run_on({"server": "c", "node-0": "a", "node-1": "a"})
    changed = {identity for identity in moved.changed_since(run) if not identity.startswith("libvirt:")}
    assert changed <= {"hardway:hypervisor:Hypervisor hardway-hypervisor-a"}


def test_lab_without_hosts_keeps_the_names_of_its_resources(program: Program) -> None:
    shared = {each.name for each in program if "libvirt" in each.type and not each.parent.startswith("hardway:machine")}
    assert {name.removeprefix("hardway-hypervisor-") for name in shared if name.startswith("hardway-hypervisor")} == {
        *("libvirt", "pool", "network", "base", "kernel", "initrd")
    }
    assert "hardway:hypervisor:Hypervisor hardway-hypervisor" in program.by_identity
    pool = program.by_identity[f"{POOL} hardway-hypervisor-pool"]
    assert pool.inputs == {
        "name": "hardway",
        "type": "dir",
        "target": {"path": "/var/lib/libvirt/images/hardway"},
    }


def test_outputs_name_the_host(run: Program, program: Program) -> None:
    assert {name: node["host"] for name, node in run.outputs["nodes"].items()} == {
        "server": "a",
        "node-0": "b",
        "node-1": "b",
    }
    assert not any("host" in node for node in program.outputs["nodes"].values())


def test_emulated_host_has_emulated_vms() -> None:
    places = {"server": "a", "node-0": "b", "node-1": "a"}
    spec = changed(on_hosts(places))
    emulated = replace(spec.hosts[1], virtualization=Virtualization.QEMU)
    run = record(replace(spec, hosts=(spec.hosts[0], emulated)))
    types = {domain.name: domain.inputs["type"] for domain in run.of_type(DOMAIN)}
    assert types == {"server-domain": "kvm", "node-0-domain": "qemu", "node-1-domain": "kvm"}
    timeouts = {
        node: run.by_identity[f"hardway:service:NodeService {node}-kubelet"].inputs["settings"]["timeout"]
        for node in ("node-0", "node-1")
    }
    assert timeouts == {"node-0": "1200", "node-1": "300"}
