"""The hosts of a lab's VMs: their rules, and the placement of the VMs on them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from lab.config.kubernetes_names import dns_label
from lab.config.problems import ConfigurationError, Problem, Problems
from lab.config.schema import closest, project, quoted
from lab.config.values import Configuration, LabValues, NodeEntry
from lab.spec import Host, Node, Role, Spec, VmSize


def build_hosts(lab: LabValues) -> tuple[Host, ...]:
    """Build the hosts from valid values. Without any, the lab itself describes the only one."""
    hosts = {name: values for name, values in sorted(lab["hosts"].items()) if values is not None}
    if not hosts:
        return (Host(name="", uri=lab["libvirtUri"], virtualization=lab["virtualization"]),)
    return tuple(
        Host(
            name=name,
            uri=values["uri"],
            virtualization=values["virtualization"] or lab["virtualization"],
            vcpus=values["vcpus"] or None,
            memory=values["memory"] or None,
        )
        for name, values in hosts.items()
    )


def check_hosts(configuration: Configuration, problems: Problems) -> None:
    """Check the hosts, the nodes that name one, and that the VMs of these nodes fit on their hosts."""
    hosts = configuration.lab.get("hosts")
    if hosts is None:
        return
    for node in configuration.nodes:
        if explanation := _misplaced(node, list(hosts)):
            problems.add(f"{node.key}.host", explanation, node.values["host"])
    if not hosts:
        return
    _check_each(configuration, hosts, problems)
    schema = project().schema
    if configuration.lab.get("libvirtUri", schema["libvirtUri"].default) != schema["libvirtUri"].default:
        problems.add(
            configuration.key("libvirtUri"),
            "cannot be combined with hosts, each of which has its own uri; remove one of the two",
            configuration.lab["libvirtUri"],
        )
    if configuration.has_only_existing_machines:
        problems.add(configuration.key("hosts"), "has no effect, because the lab creates no VM; remove it")
    elif "network" in configuration.lab and not configuration.lab["network"]:
        problems.add(
            configuration.key("hosts"),
            "requires network: the name of a libvirt network that exists on every host and connects the VMs of all "
            "hosts. See docs/hosts.md",
        )


def _check_each(configuration: Configuration, hosts: Mapping[str, object], problems: Problems) -> None:
    owners: dict[str, str] = {}
    for name, values in hosts.items():
        key = configuration.key(f"hosts{quoted(name)}")
        try:
            dns_label(name)
        except ValueError as error:
            problems.add(key, f"has a name that cannot be used: it {error}")
        if not isinstance(values, Mapping):
            problems.add(key, "must be a mapping with a uri; to have no such host, remove the key")
            continue
        if uri := values.get("uri"):
            if uri in owners:
                problems.add(f"{key}.uri", f"is already the URI of host {owners[uri]}; name each daemon once", uri)
            owners.setdefault(uri, name)
        if values.keys() >= {"uri", "virtualization", "vcpus", "memory"}:
            vms = dict(_sizes(configuration, name))
            for field, explanation in _excess(values["vcpus"], values["memory"], vms):
                problems.add(f"{key}.{field}", explanation, values[field])


def _misplaced(node: NodeEntry, hosts: Sequence[str]) -> str:
    """Explain why a node cannot be on the host that it names. Return an empty string if it can."""
    host = node.values.get("host")
    if not host:
        return ""
    if node.is_existing_machine:
        return "places a VM, but this worker has a machine; remove it"
    if not hosts:
        return "requires hosts, which is empty; add the host there, or remove this key"
    if host in hosts:
        return ""
    similar = closest(host, hosts)
    return f"is not in hosts; did you mean {similar}?" if similar else f"is not in hosts, which has {', '.join(hosts)}"


def _sizes(configuration: Configuration, host: str) -> Iterator[tuple[str, VmSize]]:
    """Yield name and size of the VMs that the configuration places on a host."""
    for node in (entry.values for entry in configuration.nodes):
        if node.get("host") == host and node.keys() >= {"name", "vcpus", "memory", "disk"}:
            yield node["name"], VmSize(vcpus=node["vcpus"], memory=node["memory"], disk=node["disk"])


def _excess(vcpus: int | None, memory: int | None, vms: Mapping[str, VmSize]) -> Iterator[tuple[str, str]]:
    """Yield the key of each limit of a host that its VMs exceed, and the explanation."""
    limits = (
        ("vcpus", "virtual CPUs", vcpus, {name: vm.vcpus for name, vm in vms.items()}),
        ("memory", "MiB", memory, {name: vm.memory for name, vm in vms.items()}),
    )
    for key, unit, limit, needs in limits:
        if limit and sum(needs.values()) > limit:
            each = ", ".join(f"{name} ({need})" for name, need in needs.items())
            yield (
                key,
                f"is less than the {sum(needs.values())} {unit} of its VMs: {each}; raise the limit, make VMs smaller, "
                "or set another host for some of them",
            )


def needs_record(spec: Spec) -> bool:
    """Return True if the placement of a lab depends on where its VMs are already."""
    return len(spec.hosts) > 1 and any(node.host is None for node in spec.virtual_machines)


def place(spec: Spec, recorded: Mapping[str, str]) -> Spec:
    """Return the spec with a host for each VM.

    A VM stays where it is, so no change of other nodes or of the hosts moves it. A new one goes to the host with the
    fewest VMs of its role, of those that have room for it. So control planes are apart if there are enough hosts.

    Args:
        spec: The lab.
        recorded: Name of the host that has the VM of a node now, by the node's name.

    Raises:
        ConfigurationError: VMs exceed the limits of their host, or a new VM fits on no host.
    """
    vms: dict[str, list[Node]] = {host.name: [] for host in spec.hosts}
    new: list[Node] = []
    for node in spec.virtual_machines:
        host = recorded.get(node.name) if node.host is None else node.host
        (new if host is None or host not in vms else vms[host]).append(node)
    problems = [
        Problem(key=_host_key(host.name, field), explanation=explanation, value=getattr(host, field))
        for host in spec.hosts
        for field, explanation in _excess_of(host, vms[host.name])
    ]
    for node in new:
        fitting = [host.name for host in spec.hosts if not any(_excess_of(host, [*vms[host.name], node]))]
        if fitting:
            vms[min(fitting, key=lambda name: _load(vms[name], node.role))].append(node)
        else:
            explanation = "has a VM that fits on no host; raise a limit in hosts, add a host, or make VMs smaller"
            problems.append(Problem(key=_key(spec, node), explanation=explanation))
    if problems:
        raise ConfigurationError(tuple(problems))
    places = {node.name: host for host, nodes in vms.items() for node in nodes}
    control_planes, workers = (
        tuple(replace(node, host=places.get(node.name)) for node in nodes)
        for nodes in (spec.control_planes, spec.workers)
    )
    return replace(spec, control_planes=control_planes, workers=workers)


def _load(vms: Sequence[Node], role: Role) -> tuple[int, int]:
    """Return the number of VMs on a host that have a role, and that of all."""
    return sum(node.role is role for node in vms), len(vms)


def _excess_of(host: Host, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    sizes = {node.name: node.machine for node in nodes if isinstance(node.machine, VmSize)}
    return _excess(host.vcpus, host.memory, sizes)


def _host_key(host: str, field: str) -> str:
    return f"{project().name}:hosts{quoted(host)}.{field}"


def _key(spec: Spec, node: Node) -> str:
    name, nodes = ("workers", spec.workers) if node in spec.workers else ("controlPlanes", spec.control_planes)
    return f"{project().name}:{name}[{nodes.index(node)}]"
