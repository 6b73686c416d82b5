"""Messages in a preview and an update: which service on which node a change restarts, and why."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi.runtime.rpc import UNKNOWN

from lab.disruption import Disruption
from lab.node.service import Service
from lab.versions import minor
from system.errors import HardwayError

CONFIG_HASH = "configHash"
"""The input that decides whether a service restarts: see `lab.node.service.config_hash`."""


STATE_FILES = "stateFiles"
"""The input with the settings under which the service writes its state files: see `lab.node.service.Service`."""


class DisruptionError(HardwayError):
    """A preview found a change that the limit does not allow."""


@dataclass(frozen=True, kw_only=True)
class ServiceChange:
    """The effect of a change of a service's inputs.

    Attributes:
        disruption: The level. A restart that depends on what the node finds counts as one.
        effect: The effect in words, such as "will restart".
        causes: Names of the files, credentials, binaries, images and settings that change.
    """

    disruption: Disruption
    effect: str
    causes: tuple[str, ...]


class RestartAnnouncement:
    """Reports which service on which node will restart, and which files, credentials or binaries are the reason.

    With a limit, a preview fails if a change of a service or a VM is beyond it.
    """

    def __init__(self, limit: Disruption | None = None) -> None:
        self._limit = limit
        self._services: dict[str, tuple[str, Service, bool]] = {}
        self._nodes: dict[str, str] = {}
        # One hook for all services, because each hook costs calls of the engine. The name of the resource
        # identifies the service.
        options = pulumi.ResourceHookOptions(on_dry_run=True)
        self._hooks = pulumi.ResourceHookBinding(
            before_update=[pulumi.ResourceHook("announce", self._announce, options)]
        )
        self._vm_hooks = (
            pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook("keep-vm", self._keep_vm, options)])
            if limit is not None and limit < Disruption.RECREATE
            else None
        )

    def hooks(self, resource: str, node: str, service: Service, *, drains: bool) -> pulumi.ResourceHookBinding:
        """Return the hooks that announce a change of the named resource, whose inputs describe the service.

        Args:
            resource: Name of the resource.
            node: Name of the node.
            service: The service.
            drains: The node is drained before a change that asks for it.
        """
        self._services[resource] = node, service, drains
        return self._hooks

    def vm_hooks(self, resource: str, node: str) -> pulumi.ResourceHookBinding | None:
        """Return the hooks of the named resource, which is the existing VM of a node; None if it may be recreated."""
        self._nodes[resource] = node
        return self._vm_hooks

    def _announce(self, args: pulumi.ResourceHookArgs) -> None:
        node, service, drains = self._services[args.name]
        change = service_change(service, args.old_inputs or {}, args.new_inputs or {}, drains=drains)
        if change is None or not pulumi.runtime.is_dry_run():
            return
        text = _description(node, service, change)
        if self._limit is not None and change.disruption > self._limit:
            raise DisruptionError(self._refusal(text))
        pulumi.log.info(text)

    def _keep_vm(self, args: pulumi.ResourceHookArgs) -> None:
        if pulumi.runtime.is_dry_run():
            raise DisruptionError(self._refusal(f"the VM of {self._nodes[args.name]} will be recreated"))

    def _refusal(self, text: str) -> str:
        return f"hardway:maxDisruption allows at most {self._limit}, but {text}"


def describe_change(
    node: str, service: Service, old: Mapping[str, Any], new: Mapping[str, Any], *, drains: bool = True
) -> str:
    """Describe the effect of a change of a service's inputs; empty if nothing changed.

    For example "kubelet on node-1 will restart: kubelet-config.yaml".
    """
    change = service_change(service, old, new, drains=drains)
    return _description(node, service, change) if change else ""


def service_change(
    service: Service, old: Mapping[str, Any], new: Mapping[str, Any], *, drains: bool = True
) -> ServiceChange | None:
    """Return the effect of a change of a service's inputs; None if nothing changed.

    Args:
        service: The service.
        old: Inputs before the change.
        new: Inputs after it.
        drains: The node is drained before a change that asks for it.
    """
    changed = list(_changed_inputs(old, new))
    if CONFIG_HASH in old and not changed and is_restart(service, old, new):
        # Only the effect of a file is visible in no other input.
        changed = [("", CONFIG_HASH)]
    if not changed:
        return None
    activation = Disruption.RELOAD if service.activation == "reload" else Disruption.RESTART
    disruption, effect = Disruption.NONE, "will change, and nothing restarts"
    if service.unit and is_restart(service, old, new):
        disruption = activation
        effect = "will restart" if activation is Disruption.RESTART else "will be reloaded, and nothing restarts"
        if drains and is_drain(service, old, new):
            disruption, effect = Disruption.DRAIN, f"{effect} after the node is drained"
    elif ("settings", "cluster") in changed and "cluster" in old.get("settings", {}):
        disruption, effect = activation, "will restart if the control plane returns without its data"
    elif ("settings", "repair") in changed:
        disruption = activation if service.unit else Disruption.NONE
        effect = "will be repaired, and restarts if a file that it reads at startup differs on the node"
    causes = tuple(dict.fromkeys(name.rpartition("/")[2] for _, name in changed))
    return ServiceChange(disruption=disruption, effect=effect, causes=causes)


def _description(node: str, service: Service, change: ServiceChange) -> str:
    return f"{service.name} on {node} {change.effect}: {', '.join(change.causes)}"


def is_restart(service: Service, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True if a change of a service's inputs changes its config hash.

    A hash is not known in a preview in which a certificate will be issued again, and the version before this one
    recorded none. The visible inputs then decide, and a removed file counts as a restart.
    """
    expected = new.get(CONFIG_HASH)
    if CONFIG_HASH in old and isinstance(expected, str) and expected != UNKNOWN:
        return bool(old[CONFIG_HASH] != expected)
    keeps_running = {path for path, file in service.files.items() if file.effect != "restart"}
    return any(
        kind == "binaries" or (kind in ("files", "modes", "credentials") and name not in keeps_running)
        for kind, name in _changed_inputs(old, new)
    )


def is_drain(service: Service, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True if a change asks for a drained node: see `components.drain`."""
    if old.get(STATE_FILES) != new.get(STATE_FILES):
        return True
    for path, binary in service.binaries.items():
        if binary.name == "kubelet":
            versions = [inputs.get("binaries", {}).get(path, "").partition(" ")[0] for inputs in (old, new)]
            return all(versions) and minor(versions[0]) != minor(versions[1])
    return False


def _changed_inputs(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the kind and name of each visible input that differs."""
    for kind in sorted((old.keys() | new.keys()) - {CONFIG_HASH}):
        before, after = old.get(kind, {}), new.get(kind, {})
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield kind, name
