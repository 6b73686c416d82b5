"""What a change means, in words, while it is previewed and while it is made."""

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from lab.files import Service

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""How the engine writes a value that is not known before the change is made (sdk/python, runtime/rpc.py)."""


def hooks(node: str, service: Service) -> pulumi.ResourceHookBinding:
    """Says which service on which node will restart and which of its files, credentials or binaries are why."""

    def announce(args: pulumi.ResourceHookArgs) -> None:
        text = sentence(node, service, args.old_inputs or {}, args.new_inputs or {})
        if text:
            pulumi.log.info(text)

    hook = pulumi.ResourceHook(f"announce-{node}-{service.name}", announce, pulumi.ResourceHookOptions(on_dry_run=True))
    return pulumi.ResourceHookBinding(before_update=[hook])


def sentence(node: str, service: Service, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What a change of a service's inputs does to it; empty where nothing changed.

    For example "kubelet on node-1 will restart: kubelet-config.yaml".
    """
    changed = dict.fromkeys(_changed(old, new))
    if not changed:
        return ""
    quiet = {path for path, file in service.files.items() if not file.restarts} | {
        path for path in changed if path in {image.name for image in service.images}
    }
    if service.unit is None or all(path in quiet for path in changed):
        does = "will change, and nothing restarts"
    elif service.activation == "reload":
        does = "will be reloaded, and nothing restarts"
    else:
        does = "will restart"
    names = ", ".join(path.rpartition("/")[2] for path in changed)
    return f"{service.name} on {node} {does}: {names}"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for kind in sorted(old.keys() | new.keys()):
        before, after = old.get(kind, {}), new.get(kind, {})
        if isinstance(before, str) or isinstance(after, str):
            if before != after:
                yield kind
            continue
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                yield path
