"""The value that applies on a node: the node's value before the lab's, and the lab's before the default."""

from collections.abc import Mapping
from typing import Any, Literal, overload

from lab.config.values import LabValues, NodeValues, OverrideKey
from lab.versions import default_kubernetes_version


@overload
def effective(key: Literal["kubernetesVersion"], node: NodeValues, lab: LabValues) -> str: ...


@overload
def effective(key: OverrideKey, node: NodeValues, lab: LabValues) -> dict[str, Any]: ...


def effective(key: Literal["kubernetesVersion"] | OverrideKey, node: NodeValues, lab: LabValues) -> Any:
    """Return the value that applies on a node, for a key that both a node and the lab have.

    The node's version replaces the lab's. The node's overrides are merged into the lab's, see `merge`.

    Args:
        key: The key.
        node: The values of the node; empty for what applies on a node without its own values.
        lab: The values of the lab.
    """
    if key == "kubernetesVersion":
        return node.get(key) or lab.get(key) or default_kubernetes_version()
    return merge(lab.get(key, {}), node.get(key, {}))


def merge(lab: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a node's fields into the lab's.

    Mappings are merged key by key; any other value of the node replaces the lab's. A null stays in the result, because
    it removes the lab's default when the result is merged into the defaults.
    """
    merged = dict(lab)
    for name, value in node.items():
        base = merged.get(name)
        merged[name] = merge(base, value) if isinstance(base, Mapping) and isinstance(value, Mapping) else value
    return merged
