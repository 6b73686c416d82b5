"""What a change means, in words, where it is previewed."""

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from lab.node.service import Service


class RestartAnnouncement:
    """Says which service on which node will restart and which of its files, credentials or binaries are why."""

    def __init__(self) -> None:
        self._services: dict[str, tuple[str, Service]] = {}
        # The same for all, as each hook costs calls of the engine; the resource's name says whose change it is.
        options = pulumi.ResourceHookOptions(on_dry_run=True)
        self._hooks = pulumi.ResourceHookBinding(
            before_update=[pulumi.ResourceHook("announce", self._announce, options)]
        )

    def hooks(self, resource: str, node: str, service: Service) -> pulumi.ResourceHookBinding:
        """What announces a change of the resource of that name, whose inputs are what the service is made of."""
        self._services[resource] = node, service
        return self._hooks

    def _announce(self, args: pulumi.ResourceHookArgs) -> None:
        text = describe_change(*self._services[args.name], args.old_inputs or {}, args.new_inputs or {})
        if text and pulumi.runtime.is_dry_run():
            pulumi.log.info(text)


def describe_change(node: str, service: Service, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What a change of a service's inputs does to it; empty where nothing changed.

    For example "kubelet on node-1 will restart: kubelet-config.yaml".
    """
    changed = list(dict.fromkeys(_changed(old, new)))
    if not changed:
        return ""
    quiet = {("files", path) for path, file in service.files.items() if file.effect != "restart"}
    restarting = [
        name for kind, name in changed if kind not in ("images", "tools", "settings") and ("files", name) not in quiet
    ]
    if service.unit and restarting:
        does = "will be reloaded, and nothing restarts" if service.activation == "reload" else "will restart"
    elif ("settings", "repair") in changed:
        does = "will be set right, and restarts where what it runs by was changed"
    else:
        does = "will change, and nothing restarts"
    names = ", ".join(dict.fromkeys(name.rpartition("/")[2] for _, name in changed))
    return f"{service.name} on {node} {does}: {names}"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The kinds and names of the inputs that differ."""
    for kind in sorted(old.keys() | new.keys()):
        before, after = old.get(kind, {}), new.get(kind, {})
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                yield kind, name
