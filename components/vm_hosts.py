"""The host of each VM."""

import pulumi

from components.hypervisor import PROVIDER_SUFFIX, hypervisor_name
from host.engine.recorded_hosts import provider_names
from lab.config.hosts import needs_record, place
from lab.spec import Spec


def with_hosts(spec: Spec) -> Spec:
    """Return the spec with a host for each VM. A preview reports those that the lab chooses for new VMs.

    Raises:
        ConfigurationError: A host has too little room.
        HostError: It is not known on which hosts the existing VMs are.
    """
    recorded = _recorded(spec) if needs_record(spec) else {}
    placed = place(spec, recorded)
    if pulumi.runtime.is_dry_run():
        for before, after in zip(spec.virtual_machines, placed.virtual_machines, strict=True):
            if before.host is None and len(spec.hosts) > 1 and recorded.get(after.name) != after.host:
                pulumi.log.info(f"the VM of {after.name} will be created on {placed.host_of(after)}")
    return placed


def _recorded(spec: Spec) -> dict[str, str]:
    """Return the name of the host of each existing VM, by its node. A host that left the configuration is left out."""
    hosts = {f"{hypervisor_name(spec, host)}{PROVIDER_SUFFIX}": host.name for host in spec.hosts}
    stack = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    return {node: hosts[provider] for node, provider in provider_names(stack).items() if provider in hosts}
