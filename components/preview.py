"""Messages in a preview and an update: which service on which node a change restarts, and why."""

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from lab.node.service import Service
from lab.versions import minor

CONFIG_HASH = "configHash"
"""The input that decides whether a service restarts: see `lab.node.service.config_hash`."""


class RestartAnnouncement:
    """Reports which service on which node will restart, and which files, credentials or binaries are the reason."""

    def __init__(self) -> None:
        self._services: dict[str, tuple[str, Service]] = {}
        # One hook for all services, because each hook costs calls of the engine. The name of the resource
        # identifies the service.
        options = pulumi.ResourceHookOptions(on_dry_run=True)
        self._hooks = pulumi.ResourceHookBinding(
            before_update=[pulumi.ResourceHook("announce", self._announce, options)]
        )

    def hooks(self, resource: str, node: str, service: Service) -> pulumi.ResourceHookBinding:
        """Return the hooks that announce a change of the named resource, whose inputs describe the service."""
        self._services[resource] = node, service
        return self._hooks

    def _announce(self, args: pulumi.ResourceHookArgs) -> None:
        text = describe_change(*self._services[args.name], args.old_inputs or {}, args.new_inputs or {})
        if text and pulumi.runtime.is_dry_run():
            pulumi.log.info(text)


def describe_change(node: str, service: Service, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Describe the effect of a change of a service's inputs; empty if nothing changed.

    For example "kubelet on node-1 will restart: kubelet-config.yaml".
    """
    changed = list(dict.fromkeys(_changed_inputs(old, new)))
    if not changed:
        return ""
    if service.unit and is_restart(service, old, new):
        effect = "will be reloaded, and nothing restarts" if service.activation == "reload" else "will restart"
        if is_drain(service, old, new):
            effect += " after the node is drained"
    elif ("settings", "cluster") in changed and "cluster" in old.get("settings", {}):
        effect = "will restart if the control plane returns without its data"
    elif ("settings", "repair") in changed:
        effect = "will be repaired, and restarts if a file that it reads at startup differs on the node"
    else:
        effect = "will change, and nothing restarts"
    names = ", ".join(dict.fromkeys(name.rpartition("/")[2] for _, name in changed))
    return f"{service.name} on {node} {effect}: {names}"


def is_restart(service: Service, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True if a change of a service's inputs changes its config hash.

    A hash that is not known yet counts as changed: a certificate will be issued again. The version before this one
    recorded no hash. The visible inputs then decide, and a removed file counts as a restart.
    """
    if CONFIG_HASH in old:
        return bool(old[CONFIG_HASH] != new.get(CONFIG_HASH))
    keeps_running = {path for path, file in service.files.items() if file.effect != "restart"}
    return any(
        kind == "binaries" or (kind in ("files", "modes", "credentials") and name not in keeps_running)
        for kind, name in _changed_inputs(old, new)
    )


def is_drain(service: Service, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return True if a change gives the kubelet another minor version, before which its node is drained."""
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
