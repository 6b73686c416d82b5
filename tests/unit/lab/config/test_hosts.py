"""The hosts of a configuration, refused ones, and the placement of VMs on them."""

from collections.abc import Mapping
from typing import Any

import pytest

from lab.config.hosts import place
from lab.config.parse import ConfigurationError, parse
from lab.spec import Spec, Virtualization
from tests.support.ssh_keys import HOST_KEY, PRIVATE_KEY

Values = dict[str, Any]

URIS = {name: {"uri": f"qemu+ssh://root@{name}.example/system"} for name in ("a", "b", "c")}


def nodes(prefix: str, number: int, first: int, **others: Any) -> list[Values]:
    """Return nodes without their pod CIDRs."""
    return [{"name": f"{prefix}-{i}", "address": f"10.240.0.{first + i}", **others} for i in range(number)]


def workers(number: int, **others: Any) -> list[Values]:
    return [node | {"podCidr": f"10.200.{i}.0/24"} for i, node in enumerate(nodes("node", number, 20, **others))]


def lab(*, control_planes: int = 1, hosts: Mapping[str, Any] | None = None, **others: Any) -> Values:
    """Return a lab with hosts."""
    return {
        "hosts": URIS if hosts is None else hosts,
        "network": "shared",
        "controlPlanes": nodes("server", control_planes, 10),
        "workers": workers(4),
        **({"apiAddress": "10.240.0.9"} if control_planes > 1 else {}),
        **others,
    }


def problems(values: Values) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as error:
        parse(values)
    return {problem.key: problem.explanation for problem in error.value.problems}


def places(spec: Spec, recorded: Mapping[str, str] | None = None) -> dict[str, str | None]:
    """Return the host of each node."""
    return {node.name: node.host for node in place(spec, recorded or {}).nodes}


def limited(**limits: int) -> Mapping[str, Any]:
    """Return the hosts, of which the first one has limits."""
    return URIS | {"a": URIS["a"] | limits}


def test_lab_without_hosts_has_one() -> None:
    spec = parse({"libvirtUri": "qemu+ssh://root@there/system", "virtualization": "qemu"})
    [host] = spec.hosts
    assert (host.name, host.uri, host.virtualization) == ("", "qemu+ssh://root@there/system", Virtualization.QEMU)
    assert {node.host for node in spec.nodes} == {""}
    assert place(spec, {}) == spec


def test_hosts_have_the_virtualization_of_the_lab_or_their_own() -> None:
    hosts = URIS | {"b": URIS["b"] | {"virtualization": "kvm"}}
    found = {host.name: host.virtualization for host in parse(lab(hosts=hosts, virtualization="qemu")).hosts}
    assert found == {"a": Virtualization.QEMU, "b": Virtualization.KVM, "c": Virtualization.QEMU}


@pytest.mark.parametrize(
    ("values", "key", "fragment"),
    [
        (lab(workers=workers(1, host="bb")), "workers[0].host", "is not in hosts; did you mean b?"),
        (lab(workers=workers(1, host="other")), "workers[0].host", "is not in hosts, which has a, b, c"),
        ({"workers": workers(1, host="a")}, "workers[0].host", "requires hosts, which is empty"),
        (lab(hosts={"a": {}}), 'hosts["a"].uri', "is missing"),
        (lab(hosts={"a": {"uri": "xen:///system"}}), 'hosts["a"].uri', "system-wide QEMU driver"),
        (lab(hosts={"a": {"uri": "qemu:///system", "cpus": 3}}), 'hosts["a"].cpus', "did you mean vcpus?"),
        (lab(hosts={"a": URIS["a"] | {"vcpus": -1}}), 'hosts["a"].vcpus', "must be from 0 to"),
        (lab(hosts=URIS | {"d": None}), 'hosts["d"]', "must be a mapping with a uri"),
        (lab(hosts={"A_1": URIS["a"]}), 'hosts["A_1"]', "has a name that cannot be used"),
        (lab(hosts=URIS | {"d": URIS["a"]}), 'hosts["d"].uri', "is already the URI of host a"),
        (lab(libvirtUri="qemu+ssh://root@a.example/system"), "libvirtUri", "cannot be combined with hosts"),
        (lab(network=""), "hosts", "requires network"),
    ],
)
def test_impossible_hosts_are_refused(values: Values, key: str, fragment: str) -> None:
    found = problems(values)
    assert list(found) == [f"hardway:{key}"]
    assert fragment in found[f"hardway:{key}"]


def test_existing_machine_has_no_host() -> None:
    machine = {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}
    found = problems(lab(workers=workers(1, host="a", machine=machine)))
    assert found == {"hardway:workers[0].host": "places a VM, but this worker has a machine; remove it"}


def test_only_host_has_all_vms() -> None:
    assert set(places(parse(lab(hosts={"a": URIS["a"]}))).values()) == {"a"}


@pytest.mark.parametrize(("limit", "total"), [({"vcpus": 7}, "8 virtual CPUs"), ({"memory": 8000}, "8192 MiB")])
def test_nodes_beyond_a_limit_are_named(limit: dict[str, int], total: str) -> None:
    [(key, explanation)] = problems(lab(hosts=limited(**limit), workers=workers(4, host="a"))).items()
    assert key == f'hardway:hosts["a"].{next(iter(limit))}'
    assert explanation.startswith(f"is less than the {total} of its VMs: node-0 (2")
    parse(lab(hosts=limited(vcpus=8, memory=8192), workers=workers(4, host="a")))


def test_new_vms_are_spread_by_their_role() -> None:
    assert places(parse(lab(control_planes=3))) == {
        "server-0": "a",
        "server-1": "b",
        "server-2": "c",
        "node-0": "a",
        "node-1": "b",
        "node-2": "c",
        "node-3": "a",
    }


def test_configured_host_counts_and_wins() -> None:
    values = lab(control_planes=2, hosts={name: URIS[name] for name in "ab"})
    values["controlPlanes"][1]["host"] = "a"
    found = places(parse(values), {"server-1": "b"})
    assert (found["server-1"], found["server-0"]) == ("a", "b")


def test_vm_stays_when_other_nodes_and_hosts_change() -> None:
    before = places(parse(lab(control_planes=3)))
    recorded = {name: host for name, host in before.items() if host}
    fewer = lab(control_planes=3, workers=workers(4)[2:], hosts=URIS | {"0": {"uri": "qemu:///system"}})
    after = places(parse(fewer), recorded)
    assert after == {name: host for name, host in before.items() if name in after}
    more = lab(control_planes=3, workers=workers(9))
    assert {name: host for name, host in places(parse(more), recorded).items() if name in before} == before


def test_new_vm_avoids_full_hosts() -> None:
    found = places(parse(lab(hosts=limited(vcpus=2))))
    assert [name for name, host in found.items() if host == "a"] == ["server-0"]


def test_vm_of_a_removed_host_is_placed_again() -> None:
    assert places(parse(lab()), {"node-0": "gone"})["node-0"] in URIS


def test_vm_that_fits_nowhere_is_named() -> None:
    hosts = {name: URIS[name] | {"memory": 4096} for name in "ab"}
    with pytest.raises(ConfigurationError, match=r"hardway:workers\[3\]: has a VM that fits on no host"):
        place(parse(lab(hosts=hosts)), {})


def test_vm_that_outgrows_its_host_is_named() -> None:
    spec = parse(lab(hosts=limited(vcpus=3)))
    with pytest.raises(
        ConfigurationError, match=r'hosts\["a"\]\.vcpus = 3: is less than the 4.*server-0 \(2\), node-3'
    ):
        place(spec, {"server-0": "a", "node-3": "a"})


def test_existing_machine_is_not_placed() -> None:
    machine = {"privateKey": PRIVATE_KEY, "hostKey": HOST_KEY}
    assert places(parse(lab(workers=workers(1, machine=machine))))["node-0"] is None
