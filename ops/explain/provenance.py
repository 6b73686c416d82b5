"""The origin of each line of a service's files.

A line comes from a configuration key if another value of the key changes the line:

1. Keys that the stack file sets, for the lab and for the node.
2. Names and addresses of other nodes that the line contains.
3. Defaults of Pulumi.yaml, for the remaining lines.
4. Everything else is fixed in the lab's own code. `ops.explain.source` finds the place.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from host.project_files import read_project_file
from lab.config.parse import ConfigurationError, parse
from lab.config.rules import RULES, Rule
from lab.config.schema import project
from lab.config.secrets import KeyPath
from lab.node.render import services_of
from lab.node.service import Service
from lab.spec import Node, Spec
from ops.explain.variation import NODE_LISTS, VariedKey, alternatives, default_keys, key_name, set_keys, varied
from ops.render.tree import text_of
from ops.stack_file import StackConfiguration

Texts = Mapping[str, str]
"""Path to content: of each file the text, of each program its name and version."""

LAB_WIDE_FLAGS = ("etcdFlags", "apiServerFlags", "controllerManagerFlags", "schedulerFlags")
FREE_FORM_KEYS = ("kubelet", "kubeProxy", "containerd", "cni")
"""Keys whose fields are laid over the lab's own, for the lab and for each node."""

FLAG_PROBE, FIELD_PROBE = "explain-probe", "explainProbe"

MAX_VALID = 2
"""Number of valid other values of a key that are rendered, until one changes the files."""

MAX_WORKERS = 12
"""Number of workers above which the varied lab has only some of them."""

KEPT_WORKERS = 3
"""Number of workers of such a lab, besides the explained node."""

MAX_CONFIRMED = 20
"""Number of other nodes whose values are confirmed by rendering. More are attributed by their text only."""


@dataclass(frozen=True)
class Origin:
    """The origin of a line.

    Attributes:
        kind: `configuration`, `default` or `source`.
        name: The configuration key, or file and line number of the source.
        reason: Comment above the source line.
    """

    kind: str
    name: str
    reason: str = ""

    def __str__(self) -> str:
        if self.kind == "default":
            return f"default of {self.name} (Pulumi.yaml)"
        return f"{self.name} (stack file)" if self.kind == "configuration" else self.name


@dataclass
class Provenance:
    """The origins of a service's files.

    Attributes:
        texts: Content of each file and program.
        lines: Origins of a line, by path and line index. Lines from the lab's own code are missing.
        paths: Keys that decide whether and where a file exists, by path.
        override_keys: Configuration key that is laid over a file, by path, such as `kubelet`.
    """

    texts: Texts
    lines: dict[tuple[str, int], list[Origin]] = field(default_factory=dict)
    paths: dict[str, list[Origin]] = field(default_factory=dict)
    override_keys: dict[str, str] = field(default_factory=dict)


def node_path(spec: Spec, node: Node) -> KeyPath:
    """Return the configuration path of a node, such as `("workers", 1)`."""
    siblings = [other for other in spec.nodes if other.role is node.role]
    return (NODE_LISTS[node.role], siblings.index(node))


def find_origins(stack: StackConfiguration, node: Node, service: Service) -> Provenance:
    """Find the origin of each line of a service's files on a node."""
    return _Search(stack, node, service).run()


def texts_of(service: Service) -> dict[str, str]:
    """Return the content of each file of a service, and name and version of each program."""
    return {
        **{path: text_of(file) for path, file in service.files.items()},
        **{path: f"{binary.name} {binary.version}" for path, binary in {**service.binaries, **service.tools}.items()},
    }


class _Search:
    """Renders a service with varied configurations, and collects the changed lines."""

    def __init__(self, stack: StackConfiguration, node: Node, service: Service) -> None:
        self._stack = stack
        self._node = node
        self._service = service.name
        self._found = Provenance(texts_of(service))
        # The varied configuration, in which the node may have another index.
        self._values = _with_default_nodes(stack)
        self._spec = stack.spec
        self._path = node_path(stack.spec, node)
        self._workers = list(range(len(stack.spec.workers)))
        self._lines: dict[str, dict[int, int]] = {}
        self._texts: Texts = self._found.texts
        if len(self._workers) > MAX_WORKERS:
            self._leave_out_workers()

    def run(self) -> Provenance:
        for key in set_keys(self._values, self._path):
            self._vary(key, self._kind(key.path))
        self._search_other_nodes()
        attributed = set(self._found.lines)
        for key in default_keys(self._values, self._path):
            self._vary(key, "default", besides=attributed)
        self._find_override_keys()
        return self._found

    def _vary(self, key: VariedKey, kind: str, besides: frozenset[Any] | set[Any] = frozenset()) -> None:
        """Attribute the lines that the first effective other value of a key changes."""
        valid = 0
        for value in alternatives(key, self._spec):
            texts = self._render(key.path, value)
            if texts is None:
                continue
            valid += 1
            if self._attribute(texts, Origin(kind, self._name(key.path)), besides) or valid == MAX_VALID:
                return

    def _attribute(self, texts: Texts, origin: Origin, besides: frozenset[Any] | set[Any]) -> bool:
        changed = False
        for path, text in self._texts.items():
            if path not in texts:
                self._found.paths.setdefault(path, []).append(origin)
                changed = True
                continue
            for varied_line in changed_lines(text, texts[path]):
                changed = True
                line = self._lines[path].get(varied_line, -1) if path in self._lines else varied_line
                if line >= 0 and (path, line) not in besides:
                    self._found.lines.setdefault((path, line), []).append(origin)
        return changed

    def _search_other_nodes(self) -> None:
        """Attribute lines that contain the name, address or pod range of another node."""
        confirmed = 0
        for other in self._stack.spec.nodes:
            if other == self._node:
                continue
            path = node_path(self._stack.spec, other)
            for name, value in (("name", other.name), ("address", other.address), ("podCidr", other.pod_cidr)):
                places = self._lines_with(str(value)) if value else []
                if not places:
                    continue
                kind = self._kind(path)
                varied_path = self._varied_path(path)
                if varied_path and confirmed < MAX_CONFIRMED:
                    confirmed += 1
                    self._vary(VariedKey((*varied_path, name), str(value), is_set=True), kind)
                else:
                    origin = Origin(kind, key_name((*path, name)))
                    for place in places:
                        self._found.lines.setdefault(place, []).append(origin)

    def _lines_with(self, value: str) -> list[tuple[str, int]]:
        pattern = re.compile(rf"(?<![\w.-]){re.escape(value)}(?![\w-]|\.\w)")
        return [
            (path, line)
            for path, text in self._found.texts.items()
            for line, content in enumerate(text.splitlines())
            if pattern.search(content)
        ]

    def _leave_out_workers(self) -> None:
        """Vary a lab with few of the workers, because checking and rendering a large lab takes long."""
        kind, index = self._path
        explained = [index] if kind == "workers" and isinstance(index, int) else []
        self._workers = sorted({*range(KEPT_WORKERS), *explained})
        self._path = self._varied_path(self._path) or self._path
        workers = self._values["workers"]
        self._values = {**self._values, "workers": [workers[each] for each in self._workers]}
        self._spec = parse(self._values, self._stack.secret, read_file=read_project_file)
        self._texts = self._rendered(self._spec)
        self._lines = {
            path: dict(_equal_lines(text, self._found.texts[path]))
            for path, text in self._texts.items()
            if path in self._found.texts
        }

    def _kind(self, path: KeyPath) -> str:
        """Return the kind of a set key: the nodes are a default too if the stack file does not list them."""
        return "configuration" if path[0] in self._stack.values else "default"

    def _varied_path(self, path: KeyPath) -> KeyPath | None:
        """Return the path of a node in the varied configuration, None if it is not there."""
        kind, index = path
        if kind != "workers" or not isinstance(index, int):
            return path
        return (kind, self._workers.index(index)) if index in self._workers else None

    def _name(self, path: KeyPath) -> str:
        """Return the name of a varied key, with the index that a worker has in the stack file."""
        match path:
            case ("workers", int(index), *others):
                return key_name(("workers", self._workers[index], *others))
        return key_name(path)

    def _find_override_keys(self) -> None:
        probes = dict.fromkeys(FREE_FORM_KEYS, FIELD_PROBE) | dict.fromkeys(LAB_WIDE_FLAGS, FLAG_PROBE)
        for key, probe in probes.items():
            # No program has the field or the flag of a probe.
            texts = self._render((key, probe), "1", rules=())
            for path, text in (texts or {}).items():
                if path in self._found.texts and probe in text:
                    self._found.override_keys[path] = key

    def _render(self, path: KeyPath, value: Any, rules: Iterable[Rule] = RULES) -> Texts | None:
        """Return the service's texts with another value at a configuration path, None if that is no valid lab."""
        try:
            values = varied(self._values, path, value)
            spec = parse(values, self._stack.secret, read_file=read_project_file, rules=rules)
        except ConfigurationError:
            return None
        return self._rendered(spec)

    def _rendered(self, spec: Spec) -> Texts:
        kind, index = self._path
        nodes = spec.workers if kind == "workers" else spec.control_planes
        if not isinstance(index, int) or index >= len(nodes):
            return {}
        services = services_of(spec, nodes[index])
        return next((texts_of(service) for service in services if service.name == self._service), {})


def _with_default_nodes(stack: StackConfiguration) -> dict[str, Any]:
    """Return a configuration with the nodes that Pulumi.yaml has by default, if the stack file lists none."""
    names = ["workers"] if stack.values.get("join") else ["workers", "controlPlanes"]
    return {**{name: project().schema[name].default for name in names}, **stack.values}


def changed_lines(text: str, other: str) -> Iterator[int]:
    """Yield the indexes of the lines of a text that another text lacks or changes."""
    if text == other:
        return
    for operation, begin, end, _, _ in _matcher(text, other).get_opcodes():
        if operation in ("replace", "delete"):
            yield from range(begin, end)


def _equal_lines(text: str, other: str) -> Iterator[tuple[int, int]]:
    """Yield the indexes of equal lines of two texts."""
    for block in _matcher(text, other).get_matching_blocks():
        yield from ((block.a + number, block.b + number) for number in range(block.size))


def _matcher(text: str, other: str) -> difflib.SequenceMatcher[str]:
    # Without the backslash at the end: a flag that became the last one is unchanged.
    lines, other_lines = ([line.removesuffix(" \\") for line in each.splitlines()] for each in (text, other))
    return difflib.SequenceMatcher(None, lines, other_lines, autojunk=False)


def override_names(node: KeyPath, key: str, field_path: tuple[str, ...] = ()) -> list[str]:
    """Return the configuration keys that override a field, the node's own first.

    Args:
        node: Configuration path of the node.
        key: The free-form key, such as `kubelet` or `etcdFlags`.
        field_path: Keys that lead to the field. Empty for all fields.
    """
    own = [] if key in LAB_WIDE_FLAGS else [key_name((*node, key, *field_path))]
    return [*own, key_name((key, *field_path))]
