"""The resources of a lab: number, parents, order and options."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.hypervisor import vm_name
from components.rollout import Rollout
from components.vm_rollout import VmRollout
from host.engine.stack import LIMIT_CHECKED_VARIABLE
from host.machine import tsc
from lab.node.paths import DRAIN_LIMITS, KUBECTL
from lab.node.render import services_of
from lab.spec import Spec
from system.files import CHECKOUT
from tests.support.changes import spec_of
from tests.support.payload import files
from tests.support.program_stack import (
    MAX_CONNECTIONS_OF_A_WORKER,
    MAX_RESOURCES_OF_A_WORKER,
    NEW_WORKER,
    Change,
    changed,
    setting,
)
from tests.support.recording import IMAGE, Program, Resource, record
from tests.support.stacks import NAMES, configuration, stack_spec
from toolchain.vm_image import VmImage

DOMAIN = "libvirt:index/domain:Domain"


def names(resources: list[Resource]) -> set[str]:
    return {resource.name for resource in resources}


def test_worker_has_at_most_22_resources(program: Program, wider: Program) -> None:
    added = wider.added_since(program)
    assert any(NEW_WORKER["name"] in name for name in added)
    assert len(added) <= MAX_RESOURCES_OF_A_WORKER, sorted(added)


def test_worker_opens_at_most_8_connections(program: Program, wider: Program) -> None:
    commands = [wider.by_identity[name] for name in wider.added_since(program) if wider.by_identity[name].is_command]
    assert 0 < len(commands) <= MAX_CONNECTIONS_OF_A_WORKER, sorted(names(commands))


def test_every_resource_has_a_parent_in_the_lab(program: Program) -> None:
    for resource in program:
        is_lab = resource.type == "hardway:lab:Lab"
        assert (resource.parent in program.resources) is not is_lab, resource


def test_component_types_name_their_module(program: Program) -> None:
    components = [resource for resource in program if not resource.custom]
    assert components
    for component in components:
        assert re.fullmatch(r"hardway:[a-z]+:[A-Z][A-Za-z]+", component.type), component


def test_commands_neither_replace_nor_log(program: Program) -> None:
    assert program.commands
    for command in program.commands:
        assert "triggers" not in command.inputs
        assert command.inputs["logging"] == "none"
        assert command.inputs["addPreviousOutputInEnv"] is False


def test_push_uses_the_programs_python(program: Program) -> None:
    push = program.by_identity["command:local:Command node-0-binaries"]
    python = Path(shlex.split(push.inputs["create"])[0])
    # Not resolved, because the program in a virtual environment is a link to the machine's.
    assert (CHECKOUT / python).parent == Path(sys.prefix) / "bin"
    assert not python.is_absolute()


def host_routes() -> Resource:
    """Return the command that creates the routes from this machine to the pods."""
    run = record(changed(setting("hostRoutes", True)))
    return run.by_identity["command:local:Command hardway-host-routes"]


def test_host_routes_program_has_a_relative_path() -> None:
    routes = host_routes()
    for text in (routes.inputs["create"], routes.inputs["delete"]):
        program = Path(shlex.split(text)[0])
        assert (CHECKOUT / program).is_file()
        assert not program.is_absolute()


def test_host_routes_are_recreated_after_a_reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    before = host_routes()
    assert host_routes().inputs == before.inputs
    monkeypatch.setattr("system.processes.boot_id", lambda: "another")
    assert host_routes().inputs != before.inputs


def test_host_routes_are_recreated_with_private_libvirt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    holder = tmp_path / "holder"
    monkeypatch.setenv("HARDWAY_NAMESPACE", str(tmp_path / "outside"))
    holder.write_text("17 200 boot\n")
    before = host_routes()
    assert host_routes().inputs == before.inputs
    holder.write_text("17 900 boot\n")
    assert host_routes().inputs != before.inputs


def test_commands_are_deleted_with_their_vm(program: Program, dev_addresses: dict[str, str]) -> None:
    for command in program.commands:
        if command.name == "server-etcd-data":
            continue
        node = dev_addresses[command.address] if command.address else command.inputs["environment"]["HARDWAY_NODE"]
        assert program.resources[command.deleted_with].name == f"{node}-domain", command


def test_data_of_etcd_is_saved_before_its_vm_is_recreated(program: Program) -> None:
    data = program.by_identity["command:local:Command server-etcd-data"]
    assert {program.resources[urn].name for urn in data.replace_with} == {
        "server-disk",
        "server-cloud-init",
        "server-domain",
    }
    assert data.delete_before_replace
    assert data.deleted_with == ""
    assert "server-etcd-data" in program.needed_by(program.command("server-etcd"))


def test_several_control_planes_keep_each_others_data() -> None:
    run = record(changed(lambda values: values["controlPlanes"].append({"name": "server-2", "address": "10.240.0.11"})))
    assert not [each.name for each in run.commands if each.name.endswith("-etcd-data")]


def test_every_node_must_prove_its_host_key(program: Program, dev_addresses: dict[str, str]) -> None:
    made = {
        name: program.by_identity[f"libvirt:index/cloudInitDisk:CloudInitDisk {name}-cloud-init"].inputs["userData"]
        for name in dev_addresses.values()
    }
    for command in program.of_type("command:remote:Command"):
        host_key = command.inputs["connection"]["hostKey"].strip()
        assert host_key
        assert yaml.safe_load(made[dev_addresses[command.address]])["ssh_keys"]["ed25519_public"] == host_key


def test_every_node_has_its_own_host_key(program: Program, dev_addresses: dict[str, str]) -> None:
    keys = {command.inputs["connection"]["hostKey"] for command in program.of_type("command:remote:Command")}
    assert len(keys) == len(dev_addresses)


def test_only_the_first_command_waits_for_boot(program: Program, dev_addresses: dict[str, str]) -> None:
    attempts = {command: command.inputs["connection"]["dialErrorLimit"] for command in remote(program)}
    maximum = max(attempts.values())
    first_commands = [command for command in attempts if attempts[command] == maximum]
    assert sorted(dev_addresses[command.address] for command in first_commands) == sorted(dev_addresses.values())
    for command in set(attempts) - set(first_commands):
        assert attempts[command] < maximum
        first = next(each.name for each in first_commands if each.address == command.address)
        assert first in program.needed_by(command), f"{command.name} does not wait for {first}"


def remote(program: Program) -> list[Resource]:
    return program.of_type("command:remote:Command")


def test_push_waits_for_its_node(program: Program) -> None:
    assert program.pushes
    for push in program.pushes:
        assert f"{push.inputs['environment']['HARDWAY_NODE']}-prepared" in program.needed_by(push)


def test_kubelets_wait_for_every_api_server() -> None:
    second = {"name": "server-2", "address": "10.240.0.11"}
    run = record(changed(lambda values: values["controlPlanes"].append(second)))
    for worker in ("node-0", "node-1"):
        needed = run.needed_by(run.command(f"{worker}-kubelet"))
        assert {"server-kube-apiserver", "server-2-kube-apiserver"} <= needed


def test_other_api_servers_wait_for_the_first() -> None:
    others = [{"name": f"server-{number}", "address": f"10.240.0.1{number}"} for number in (1, 2)]
    run = record(changed(lambda values: values["controlPlanes"].extend(others)))
    waiting = {
        node: run.needed_by(run.command(f"{node}-kube-apiserver")) for node in ("server", "server-1", "server-2")
    }
    needed = {node: {name for name in names if name.endswith("-kube-apiserver")} for node, names in waiting.items()}
    assert needed == {"server": set(), "server-1": {"server-kube-apiserver"}, "server-2": {"server-kube-apiserver"}}


@pytest.mark.parametrize("service", ["node-setup", "containerd"])
def test_early_services_wait_for_no_api_server(program: Program, service: str) -> None:
    needed = program.needed_by(program.command(f"node-0-{service}"))
    assert needed
    assert not {name for name in needed if name.startswith("server-")}


def test_machines_do_not_wait_for_each_other(program: Program, dev_addresses: dict[str, str]) -> None:
    for node in dev_addresses.values():
        needed = program.needed_by(program.by_identity[f"libvirt:index/domain:Domain {node}-domain"])
        others = set(dev_addresses.values()) - {node}
        assert not {name for name in needed if name.startswith(tuple(f"{other}-" for other in others))}


def test_workers_do_not_wait_for_each_other(program: Program) -> None:
    for node, other in (("node-0", "node-1"), ("node-1", "node-0")):
        needed = {
            name
            for command in remote(program)
            if command.name.startswith(f"{node}-")
            for name in program.needed_by(command)
        }
        assert not {name for name in needed if other in name}


def test_worker_services_are_ordered(program: Program) -> None:
    order = ["node-0-prepared", "node-0-binaries", "node-0-node-setup", "node-0-containerd", "node-0-kubelet"]
    for before, after in zip(order, [*order[1:], "node-0-kube-proxy"], strict=True):
        after_resource = next(each for each in program.commands if each.name == after)
        assert before in program.needed_by(after_resource), f"{after} does not wait for {before}"


def test_control_plane_registers_node_after_its_services(program: Program) -> None:
    registration = program.command("node-0-registration")
    assert {"node-0-kubelet", "server-kube-apiserver"} <= program.needed_by(registration)
    assert registration.address == "10.240.0.10"
    assert "leave node-0" in registration.inputs["delete"]


@pytest.mark.parametrize("stack", NAMES)
def test_no_control_plane_removes_itself_if_there_is_another(stack: str) -> None:
    spec = stack_spec(stack)
    run = record(spec)
    for node in spec.kubelets if len(spec.control_planes) > 1 else ():
        registration = run.command(f"{node.name}-registration")
        [executor] = [each for each in spec.control_planes if str(each.address) == registration.address]
        first, second = spec.control_planes[:2]
        assert executor == (second if node == first else first)
        assert ("--kubeconfig-from-stdin" in registration.inputs["delete"]) is (node == first)
        assert registration.deleted_with.endswith(f"::{executor.name}-domain")
        assert {f"{executor.name}-node-setup", f"{node.name}-kubelet"} <= run.needed_by(registration)
        [setup] = [each for each in services_of(spec, executor) if each.name == "node-setup"]
        assert DRAIN_LIMITS in setup.files
        assert any(KUBECTL in {**service.binaries, **service.tools} for service in services_of(spec, executor))


def test_registration_keeps_resource_of_previous_version(program: Program) -> None:
    assert program.command("node-0-registration").other_names == {"node-0-membership"}


def test_services_survive_a_change_of_role() -> None:
    values = configuration("ha")
    before = record(spec_of(values))
    values["workers"].append(values["controlPlanes"].pop())
    after = record(spec_of(values))
    [control_plane] = [each for each in before.of_type("hardway:node:ControlPlane") if each.name == "control2"]
    [worker] = [each for each in after.of_type("hardway:node:Worker") if each.name == "control2"]
    assert worker.other_types == {control_plane.type}
    assert control_plane.other_types == {worker.type}


def test_administrator_has_the_configured_limits_of_a_drain() -> None:
    limits = {"drainGracePeriodSeconds": 5, "drainTimeoutSeconds": 60, "drainTimeoutAction": "continue"}
    run = record(changed(*(setting(key, value) for key, value in limits.items())))
    sent = files(run.command("server-node-setup").inputs["stdin"])
    assert sent["root/etc/kubernetes/drain-limits"] == "5 60 continue\n"
    assert run.command("node-0-registration").inputs["delete"].endswith("leave node-0")


def test_node_leaves_before_its_vm_is_recreated(program: Program) -> None:
    registration = program.command("node-0-registration")
    replaced = {program.resources[urn].name for urn in registration.replace_with}
    assert replaced == {"node-0-disk", "node-0-cloud-init", "node-0-domain"}
    assert registration.delete_before_replace


def test_new_vm_runs_every_command_again(program: Program) -> None:
    domains = {domain.name.removesuffix("-domain"): f"{domain.name}-id" for domain in program.of_type(DOMAIN)}
    assert domains.keys() == {"server", "node-0", "node-1"}
    for node, key in domains.items():
        assert program.command(f"{node}-prepared").inputs["create"].endswith(f" # VM {key}")
        assert program.command(f"{node}-node-setup").inputs["create"].endswith(f" # VM {key}")
        push = program.by_identity[f"command:local:Command {node}-binaries"]
        assert push.inputs["environment"]["HARDWAY_MACHINE"] == key


def test_every_service_has_a_delete(program: Program) -> None:
    for component in program.of_type("hardway:service:NodeService"):
        command = program.command(component.name)
        assert command.parent == component.parent
        service = command.inputs["create"].partition(" #")[0].rpartition(" ")[2]
        assert command.inputs["delete"].endswith(f"service remove {service}")


def test_user_data_holds_only_constants(program: Program) -> None:
    for disk in program.of_type("libvirt:index/cloudInitDisk:CloudInitDisk"):
        document = yaml.safe_load(disk.inputs["userData"])
        assert document.keys() == {"hostname", "disable_root", "ssh_pwauth", "users", "ssh_keys"}
        assert disk.delete_before_replace


def test_user_data_carries_the_node_identity(program: Program) -> None:
    run = record(changed(setting("identityFromUserData", True)))
    for name, identity in (("node-1", {"name": "node-1", "pod-cidr": "10.200.1.0/24"}), ("server", None)):
        disk = f"libvirt:index/cloudInitDisk:CloudInitDisk {name}-cloud-init"
        document = yaml.safe_load(run.by_identity[disk].inputs["userData"])
        assert document.pop("hardway", None) == identity
        assert document.keys() == yaml.safe_load(program.by_identity[disk].inputs["userData"]).keys()


def command_lines(*changes: Change) -> list[dict[str, str]]:
    """Return the kernel command lines of all VMs."""
    run = record(changed(*changes))
    (lines,) = {json.dumps(domain.inputs["cmdlines"]) for domain in run.of_type(DOMAIN)}
    return list(json.loads(lines))


def test_only_emulated_kernels_get_extra_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsc, "counter_mhz", lambda: 2596)
    (real,) = command_lines(setting("virtualization", "kvm"))
    emulated, flags = command_lines(setting("virtualization", "qemu"))
    assert emulated == real | {
        "mitigations": "off",
        "clearcpuid": "smap,smep,umip,pku,erms,rep_good",
        "init_on_alloc": "0",
        "transparent_hugepage": "never",
        "tsc": "reliable",
        "tsc_early_khz": "2596000",
    }
    # The provider reads words without a value as a separate entry, which is the last.
    assert flags == {"_": "no5lvl norandmaps no_timer_check"}


def test_existing_vm_keeps_its_kernel_parameters() -> None:
    spec = changed(setting("virtualization", "qemu"))
    run = record(spec, command_lines={"hardway-node-0": "root=/dev/vda no5lvl norandmaps"})
    flags = {domain.name: domain.inputs["cmdlines"][1]["_"] for domain in run.of_type(DOMAIN)}
    assert flags["node-0-domain"] == "no5lvl norandmaps"
    assert flags["node-1-domain"].endswith("no_timer_check")


@pytest.mark.parametrize("uuid", ["{}-domain-id", "another"], ids=["stay", "are recreated"])
@pytest.mark.parametrize("stack", ["dev", "ha", "bootstrap"])
def test_existing_vms_register_the_same_resources(stack: str, uuid: str) -> None:
    # They wait for each other before the engine sees them, and none may wait for one that waits for it.
    spec = spec_of(configuration(stack))
    vms = {vm_name(spec, node): uuid.format(node.name) for node in spec.virtual_machines}
    assert record(spec, vm_uuids=vms).changed_since(record(spec)) == set()


def test_unknown_clock_gives_no_kernel_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tsc, "counter_mhz", lambda: 2596)
    emulated = setting("virtualization", "qemu")
    elsewhere, _ = command_lines(emulated, setting("libvirtUri", "qemu+ssh://root@elsewhere/system"))
    monkeypatch.setattr(tsc, "counter_mhz", lambda: None)
    unknown, _ = command_lines(emulated)
    assert not {"tsc", "tsc_early_khz"} & (elsewhere.keys() | unknown.keys())


def test_lab_starts_with_the_host(program: Program, dev: Spec) -> None:
    domains, networks = program.of_type(DOMAIN), program.of_type("libvirt:index/network:Network")
    assert (len(domains), len(networks)) == (len(dev.nodes), 1)
    for resource in (*domains, *networks):
        assert resource.inputs.get("autostart") is True, resource


def test_newer_image_changes_no_vm(program: Program, dev: Spec) -> None:
    newer = replace(IMAGE, disk=Path("newer.qcow2"), kernel=Path("newer-kernel"), initrd=Path("newer-initrd"))
    assert record(dev, image=newer).changed_since(program) == set()


@pytest.mark.parametrize("before", [(), (setting("image", "older.qcow2"),)], ids=["own image", "other image"])
def test_configured_image_recreates_every_vm(before: tuple[Change, ...]) -> None:
    cloud = VmImage(disk=Path("cloud.qcow2"), key="cloud")

    def base(*changes: Change, image: VmImage) -> str:
        disks = record(changed(*changes), image=image).of_type("libvirt:index/volume:Volume")
        (volume,) = {disk.inputs["baseVolumeId"] for disk in disks if "baseVolumeId" in disk.inputs}
        return str(volume)

    former = base(*before, image=cloud if before else IMAGE)
    assert former != base(setting("image", "newer.qcow2"), image=cloud)


def test_new_address_replaces_the_disk(program: Program) -> None:
    moved = record(changed(setting("address", "10.240.0.77", 1)))
    for name, changes in (("node-0", False), ("node-1", True)):
        before, after = (run.by_identity[f"libvirt:index/volume:Volume {name}-disk"] for run in (program, moved))
        assert before.delete_before_replace
        assert before.replacement_trigger
        assert (before.replacement_trigger != after.replacement_trigger) is changes


def test_remote_libvirt_always_uses_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDWAY_VIRTUALIZATION", "qemu")
    run = record(changed(setting("libvirtUri", "qemu+ssh://root@elsewhere/system")))
    assert {domain.inputs["type"] for domain in run.of_type(DOMAIN)} == {"kvm"}


def test_services_on_emulated_vms_get_more_time() -> None:
    for virtualization, timeout in (("kvm", "300"), ("qemu", "1200")):
        run = record(changed(setting("virtualization", virtualization)))
        services = run.of_type("hardway:service:NodeService")
        assert {service.inputs["settings"]["timeout"] for service in services} == {timeout}


def test_every_service_change_waits_its_turn(program: Program, dev: Spec) -> None:
    waiting = {command.name for command in remote(program) if any(name.startswith("wait-") for name in command.hooks)}
    assert waiting == {f"{node.name}-{service.name}" for node in dev.nodes for service in services_of(dev, node)}


def test_number_of_hooks_is_constant(program: Program, wider: Program) -> None:
    hooks, wider_hooks = ({hook for resource in run for hook in resource.hooks} for run in (program, wider))
    assert wider_hooks == hooks


def test_rollback_changes_workers_in_reverse_order(dev: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def noted(method: Callable[..., Any]) -> Callable[..., Any]:
        def note(rollout: Any, name: str, *others: Any) -> Any:
            turns.append(name)
            return method(rollout, name, *others)

        return note

    monkeypatch.setattr(Rollout, "hooks", noted(Rollout.hooks))
    monkeypatch.setattr(VmRollout, "in_turn", noted(VmRollout.in_turn))
    record(dev, rolls_back=True)
    for turn in ("hardway-{}", "{}-kubelet", "{}-kube-proxy"):
        assert turns.index(turn.format("node-1")) < turns.index(turn.format("node-0"))


def test_rollback_registers_the_same_resources(program: Program) -> None:
    rollback = record(changed(setting("canaryCommand", "false")), rolls_back=True)
    assert rollback.changed_since(program) == rollback.added_since(program) == set()
    assert rollback.outputs == program.outputs


def test_pod_traffic_stays_in_a_private_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HARDWAY_NAMESPACE", str(tmp_path / "outside"))
    (tmp_path / "holder").write_text("17 200 boot\n")
    traffic = record(changed()).by_identity["command:local:Command hardway-pod-traffic"]
    program = "assets/host/pod-traffic"
    ranges = "10.240.0.1 10.240.0.0/24 10.200.0.0/16 10.32.0.0/24 own"
    assert traffic.inputs["create"] == f"{program} keep hardway-hardway {ranges}"
    assert traffic.inputs["delete"] == f"{program} release hardway-hardway"


def protected_vms(run: Program) -> set[str]:
    """Return the names of the domains that a preview refuses to recreate."""
    return {domain.name for domain in run.of_type(DOMAIN) if "keep-vm" in domain.hooks}


@pytest.mark.parametrize(("limit", "protected"), [("", set()), ("reboot", {"node-1-domain"}), ("recreate", set())])
def test_a_limit_protects_existing_vms(limit: str, protected: set[str]) -> None:
    run = record(changed(setting("maxDisruption", limit)), vm_uuids={"hardway-node-1": "uuid"})
    assert protected_vms(run) == protected


def test_hardway_compares_with_the_limit_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_CHECKED_VARIABLE, "1")
    run = record(changed(setting("maxDisruption", "none")), vm_uuids={"hardway-node-1": "uuid"})
    assert protected_vms(run) == set()
