"""Keeps README.md true: writes its configuration reference and its picture of the lab from what they describe.

python3 -m dev.reference            writes both anew
python3 -m dev.reference --check    fails if they are not what it would write
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lab.config.parse import load
from lab.config.schema import REQUIRED, SchemaKey, project
from lab.node.render import services_of
from lab.spec import Node, Role, Spec
from system.files import CHECKOUT

README = CHECKOUT / "README.md"
STACK_FILE = CHECKOUT / "Pulumi.dev.yaml"
GAP = "  "
"""What stands between two boxes of the picture."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes or checks README.md; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m dev.reference", description="Keeps README.md true.")
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something is out of date")
    check: bool = parser.parse_args(arguments).check
    is_text = README.read_text(encoding="utf-8")
    must_be = is_text
    for name, content in sections().items():
        must_be = with_section(must_be, name, content)
    if is_text == must_be:
        return 0
    if check:
        print("README.md is out of date: run python3 -m dev.reference", file=sys.stderr)
        return 1
    README.write_text(must_be, encoding="utf-8")
    return 0


def sections() -> dict[str, str]:
    """The generated sections of README.md by the name in their markers."""
    return {
        "lab": f"```text\n{picture(load(STACK_FILE))}```\n",
        "configuration": reference(project().name, project().schema),
    }


def with_section(text: str, name: str, content: str) -> str:
    """`text` with the content of a section replaced. Raises ValueError where its markers are not there."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"README.md has no section between {begin.strip()} and {end.strip()}")
    return f"{before}{begin}{content}{end}{after}"


def reference(namespace: str, settings: Mapping[str, SchemaKey]) -> str:
    """Every key in tables: those of the stack, then those within each of these."""
    tables = [_table(settings, f"{namespace}:"), *_tables_within(settings, f"{namespace}:")]
    return "\n".join(tables)


def _tables_within(settings: Mapping[str, SchemaKey], prefix: str) -> Iterator[str]:
    for name, setting in settings.items():
        each = setting.items or setting
        if each.properties:
            what = "Each" if setting.items else "Keys"
            yield f"{what} of `{prefix}{name}`:\n\n{_table(each.properties)}"
            yield from _tables_within(each.properties, f"{prefix}{name}.")


def _table(settings: Mapping[str, SchemaKey], prefix: str = "") -> str:
    rows = "".join(
        f"| `{prefix}{name}` | {_type(setting)} | {_default(setting)} | {setting.description} |\n"
        for name, setting in settings.items()
    )
    return f"| Key | Type | Default | Description |\n| --- | --- | --- | --- |\n{rows}"


def _type(setting: SchemaKey) -> str:
    return f"{setting.type} of {setting.items.type}s" if setting.items else setting.type


def _default(setting: SchemaKey) -> str:
    default: Any = setting.default
    if default is REQUIRED:
        return "required"
    if setting.items and setting.items.properties:
        return ", ".join(f"`{item['name']}`" for item in default) or "none"
    if default == "":
        return "empty"
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def picture(spec: Spec) -> str:
    """A lab drawn in text: its control planes, the network, its workers."""
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
    """A node as lines of equal length, with a junction in the middle of the side that faces the network."""
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
    """Columns that boxes side by side take."""
    return sum(len(box[0]) for box in boxes) + len(GAP) * (len(boxes) - 1)


def _row(boxes: Sequence[list[str]], width: int) -> tuple[list[str], set[int]]:
    """Boxes of one height side by side, centred, and the columns of their middles."""
    column = (width - _width(boxes)) // 2
    lines = [" " * column + GAP.join(parts) for parts in zip(*boxes, strict=True)]
    middles = set()
    for box in boxes:
        middles.add(column + 1 + (len(box[0]) - 2) // 2)
        column += len(box[0]) + len(GAP)
    return lines, middles


if __name__ == "__main__":
    sys.exit(main())
