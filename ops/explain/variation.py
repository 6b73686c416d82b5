"""Other values of configuration keys, to find out which lines of the rendered files a key decides."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
from typing import Any

from lab.config.schema import REQUIRED, SchemaKey, project
from lab.config.secrets import KeyPath
from lab.spec import Role, Spec
from lab.versions import kubernetes_versions

NODE_LISTS = {Role.CONTROL_PLANE: "controlPlanes", Role.WORKER: "workers"}
PLAIN_NAME = re.compile(r"[\w/-]+")
REMOVED = object()
"""Marks the removal of a key."""

RELEASES = tuple(f"v{major}.999.0" for major in range(1, 4))
"""Versions that every component accepts, if it has this major version."""

PROBE = "explain"
"""A text that no file contains."""


@dataclass(frozen=True)
class VariedKey:
    """A configuration value.

    Attributes:
        path: Keys that lead to it.
        value: Its value; for a key that is not set its default, or REQUIRED.
        is_set: True if the stack file sets it.
    """

    path: KeyPath
    value: Any
    is_set: bool

    @property
    def name(self) -> str:
        """The key as messages of the configuration spell it, such as `hardway:workers[1].podCidr`."""
        return key_name(self.path)


def key_name(path: KeyPath) -> str:
    """Return the spelling of a key, such as `hardway:workers[1].podCidr`."""
    first, *others = path
    name = f"{project().name}:{first}"
    for part in others:
        if isinstance(part, int):
            name += f"[{part}]"
        else:
            name += f".{part}" if PLAIN_NAME.fullmatch(part) else f'["{part}"]'
    return name


def set_keys(values: Mapping[str, Any], node: KeyPath) -> list[VariedKey]:
    """Return the keys that the stack file sets for the lab and for one node.

    Args:
        values: Configuration of the stack.
        node: Path of the node, such as `("workers", 1)`.
    """
    lab = {name: value for name, value in values.items() if name not in NODE_LISTS.values()}
    return [*_leaves((), lab), *_leaves(node, values_at(values, node) or {})]


def default_keys(values: Mapping[str, Any], node: KeyPath) -> list[VariedKey]:
    """Return the keys with a default that the stack file does not set, for the lab and for one node."""
    settings = project().schema
    lab = {name: key for name, key in settings.items() if name not in NODE_LISTS.values()}
    items = settings[str(node[0])].items
    node_settings = items.properties if items else {}
    # The lab's key decides where both have a default, because an unset key of a node means the lab's.
    node_settings = {name: key for name, key in node_settings.items() if name not in settings}
    return [*_unset((), lab, values), *_unset(node, node_settings, values_at(values, node) or {})]


def values_at(values: Any, path: KeyPath) -> Any:
    """Return the value at a path, None if there is none."""
    for part in path:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def varied(values: Mapping[str, Any], path: KeyPath, value: Any) -> dict[str, Any]:
    """Return a copy of a configuration with another value at a path, or without it for REMOVED."""
    result: dict[str, Any] = copy.deepcopy(dict(values))
    target: Any = result
    for part in path[:-1]:
        if isinstance(part, str):
            target[part] = target.get(part) or {}
        target = target[part]
    if value is REMOVED:
        target.pop(path[-1], None)
    else:
        target[path[-1]] = value
    return result


def alternatives(key: VariedKey, spec: Spec) -> Iterator[Any]:
    """Yield other values of a key, the most plausible first. Not all of them are valid."""
    value = key.value
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, value * 2)
    elif isinstance(value, str) and value:
        yield from _other_texts(value, spec)
    elif isinstance(value, list) and value:
        yield from (value[:-1], [])
    elif value in ("", REQUIRED):
        yield from (*kubernetes_versions(), *RELEASES, str(_free_address(spec)), str(_free_pod_cidr(spec)), PROBE)
    elif value == [] and key.path[-1] == "taints":
        yield [f"{PROBE}:NoSchedule"]
    if key.is_set:
        yield REMOVED


def _leaves(path: KeyPath, value: Any) -> Iterator[VariedKey]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves((*path, str(name)), inner)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    elif path:
        yield VariedKey(path, value, is_set=True)


def _unset(path: KeyPath, settings: Mapping[str, SchemaKey], values: Any) -> Iterator[VariedKey]:
    for name, key in settings.items():
        value = values.get(name, REQUIRED) if isinstance(values, Mapping) else REQUIRED
        if key.type == "object" and key.properties and not key.contains_secret:
            yield from _unset((*path, name), key.properties, {} if value is REQUIRED else value)
        elif value is REQUIRED and not key.contains_secret:
            yield VariedKey((*path, name), key.default, is_set=False)


def _other_texts(value: str, spec: Spec) -> Iterator[str]:
    try:
        network = IPv4Network(value)
    except (AddressValueError, NetmaskValueError, ValueError):
        network = None
    if value in kubernetes_versions():
        yield from (version for version in kubernetes_versions() if version != value)
    elif network and "/" in value:
        yield str(_free_pod_cidr(spec, network.prefixlen))
        yield from (str(network.supernet()), str(next(network.subnets())))
    elif network:
        yield str(_free_address(spec))
        yield from (str(network[0] + step) for step in (1, 2, -1, 7))
    elif value.startswith("/"):
        folder, _, name = value.rpartition("/")
        yield f"{folder}/{PROBE}-{name}"
        yield f"/opt/{PROBE}{value}"
    elif value.isdigit():
        yield str(int(value) + 1)
    else:
        if address := re.fullmatch(r"(https?://)([\d.]+)(:\d+)?(.*)", value):
            yield f"{address[1]}{_free_address(spec)}{address[3] or ''}{address[4]}"
        if number := re.search(r"\d+", value):
            yield f"{value[: number.start()]}{int(number[0]) + 1}{value[number.end() :]}"
        yield f"{value}{PROBE}"


def _free_address(spec: Spec) -> IPv4Address:
    """Return an address of the VMs' network that no node has."""
    used = {node.address for node in spec.nodes} | {spec.api_address}
    network = spec.networks.network_cidr
    return next(network[-number] for number in range(2, network.num_addresses) if network[-number] not in used)


def _free_pod_cidr(spec: Spec, prefix: int | None = None) -> IPv4Network:
    """Return a part of the cluster's pod range that no node has, or the range itself if all parts are used."""
    used = [node.pod_cidr for node in spec.nodes if node.pod_cidr]
    cluster_cidr = spec.networks.cluster_cidr
    length = prefix or (used[0].prefixlen if used else cluster_cidr.prefixlen)
    if length < cluster_cidr.prefixlen:
        return cluster_cidr
    free = (part for part in cluster_cidr.subnets(new_prefix=length) if not any(part.overlaps(other) for other in used))
    return next(free, cluster_cidr)
