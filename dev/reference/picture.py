"""Draws a lab in text, for the README."""

from collections.abc import Iterator, Sequence

from lab.node.render import services_of
from lab.spec import Node, Role, Spec

GAP = "  "
"""The space between two boxes."""


def picture(spec: Spec) -> str:
    """Draw a lab in text: its control planes, the network, its workers."""
    above = [_box(spec, node, "┬", below=True) for node in spec.control_planes]
    below = [_box(spec, node, "┴", below=False) for node in spec.workers]
    width = max(_width(above), _width(below))
    control_planes, middles_above = _row(above, width)
    workers, middles_below = _row(below, width)
    junctions = {(True, True): "╪", (True, False): "╧", (False, True): "╤", (False, False): "═"}
    network = "".join(junctions[column in middles_above, column in middles_below] for column in range(width))
    label = f"VM network {spec.networks.network_cidr} · host {spec.networks.gateway}"
    ranges = f"pods {spec.networks.cluster_cidr} · Services {spec.networks.service_cidr}"
    lines = [*control_planes, network, *workers, "", f"{label} · {ranges}"]
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _box(spec: Spec, node: Node, junction: str, below: bool) -> list[str]:
    """Return a node as lines of equal length, with a junction in the middle of the side that faces the network."""
    content = list(_content(spec, node))
    width = max(len(line) for line in content)
    border = "─" * (width + 2)
    middle = len(border) // 2
    joined = f"{border[:middle]}{junction}{border[middle + 1 :]}"
    return [
        f"┌{border if below else joined}┐",
        *(f"│ {line:<{width}} │" for line in content),
        f"└{joined if below else border}┘",
    ]


def _content(spec: Spec, node: Node) -> Iterator[str]:
    yield f"{node.name} · {'control plane' if node.role is Role.CONTROL_PLANE else 'worker'}"
    yield f"{node.address}"
    if node.pod_cidr:
        yield f"pods {node.pod_cidr}"
    yield ""
    yield from (service.name for service in services_of(spec, node))


def _width(boxes: Sequence[list[str]]) -> int:
    """Return the width of a row of boxes, in columns."""
    return sum(len(box[0]) for box in boxes) + len(GAP) * (len(boxes) - 1)


def _row(boxes: Sequence[list[str]], width: int) -> tuple[list[str], set[int]]:
    """Return boxes of one height as centred lines, and the columns of their middles."""
    column = (width - _width(boxes)) // 2
    lines = [" " * column + GAP.join(parts) for parts in zip(*boxes, strict=True)]
    middles = set()
    for box in boxes:
        middles.add(column + 1 + (len(box[0]) - 2) // 2)
        column += len(box[0]) + len(GAP)
    return lines, middles
