"""The place in the lab's own code that a line of a node's file comes from."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from ops.explain.fields import Field
from ops.explain.provenance import Origin
from system.files import CHECKOUT

MODULES = CHECKOUT / "lab" / "node"
UNITS = CHECKOUT / "assets" / "units"
VERSIONS = "lab/versions.toml"
COMMENT = re.compile(r"\s*#\s?(.*)")


def find_source(service: str, path: str, line: str, field: Field | None, names: frozenset[str]) -> Origin:
    """Return the place that a line comes from: the unit file in `assets/units`, or a line of a module in `lab/node`.

    Args:
        service: Name of the service.
        path: Path of the file on the node.
        line: The line.
        field: The field on that line, None if there is none.
        names: Names of all fields in the file. Of equal candidates, the module that has most of them is the best.
    """
    template = UNITS / Path(path).name
    if template.exists():
        for number, content in enumerate(_lines(template)):
            if content == line or (line.startswith("ExecStart") and line.partition("=")[0] + "=" in content):
                return Origin("source", _place(template, number))
    module = _module(service)
    if field is None:
        return Origin("source", _place(module))
    best: tuple[Path, int] | None = None
    best_score = 0.0
    for candidate in (module, *(other for other in _modules() if other != module)):
        own, affinity = _own_lines(candidate, service), _affinity(candidate, names)
        for number, line in enumerate(_lines(candidate)):
            score = _score(line, field)
            # The service's own module and function are the most likely places, so others must match better.
            total = score and score + (candidate == module) + (number in own) + affinity
            if total > best_score:
                best, best_score = (candidate, number), total
    if best is None:
        return Origin("source", _place(module))
    return Origin("source", _place(*best), _comment_above(*best))


def _score(line: str, field: Field) -> int:
    """Return a score of a source line for a field: its name, its value and the fields around it count."""
    *outer, name = field.path
    named = f'"{name}"' in line
    if not named and f'"{field.value}"' not in line:
        return 0
    has_value = field.value and re.search(rf"(?<![\w.]){re.escape(field.value)}(?![\w.])", line, re.IGNORECASE)
    return (5 if named else 1) + (2 if has_value else 0) + sum(2 for part in outer if f'"{part}"' in line)


def _comment_above(file: Path, number: int) -> str:
    """Return the text of the comment directly above a line."""
    found: list[str] = []
    for line in reversed(_lines(file)[:number]):
        comment = COMMENT.fullmatch(line)
        if not comment:
            break
        found.insert(0, comment[1])
    return " ".join(found)


@cache
def _affinity(module: Path, names: frozenset[str]) -> float:
    """Return the share of field names that a module contains: less than 1, so that it only decides between equals."""
    text = "\n".join(_lines(module))
    return sum(f'"{name}"' in text for name in names) / (len(names) + 1)


@cache
def _own_lines(module: Path, service: str) -> range:
    """Return the indexes of the lines of the function that names a service. Empty if there is none."""
    lines = _lines(module)
    starts = [number for number, line in enumerate(lines) if line.startswith(("def ", "class "))] + [len(lines)]
    for begin, end in pairwise(starts):
        if any(f'name="{service}"' in line for line in lines[begin:end]):
            return range(begin, end)
    return range(0)


@cache
def _module(service: str) -> Path:
    """Return the module that defines a service: the one that passes its name to `Service`, or that mentions it."""
    for pattern in (rf'name="{re.escape(service)}"', rf'"{re.escape(service)}"'):
        for module in _modules():
            if re.search(pattern, "\n".join(_lines(module))):
                return module
    return MODULES


@cache
def _modules() -> tuple[Path, ...]:
    return tuple(sorted(MODULES.glob("*.py")))


@cache
def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines()


def _place(file: Path, number: int | None = None) -> str:
    name = str(file.relative_to(CHECKOUT))
    return name if number is None else f"{name}:{number + 1}"
