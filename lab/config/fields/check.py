"""Checks overrides against the tables, so that a program on a node does not refuse or ignore them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from lab.config.fields.allowed import KEYS, VALUES
from lab.config.fields.tables import KnownField, Table, table
from lab.config.fields.values import field_problem, flag_problem
from lab.config.schema import closest, value_of_unknown_key

MAX_LISTED_NAMES = 12
"""The number of known names that a message lists if none of them is similar to an unknown one."""

GATE_GROUPS = ("AllAlpha", "AllBeta")
"""The names in a mapping of feature gates that stand for several gates."""

TITLES = {
    "kubelet": "a field of the kubelet's configuration",
    "kube-proxy": "a field of kube-proxy's configuration",
    "containerd": "a field of containerd's configuration",
    "auditPolicy": "a field of an audit policy",
    "authentication": "a field of an AuthenticationConfiguration",
    "authorization": "a field of an AuthorizationConfiguration",
    "admission": "a field of an AdmissionConfiguration",
    "PodSecurity": "a field of a PodSecurityConfiguration",
}

Path = tuple[str | int, ...]
"""The keys and the indexes of lists that lead to a value."""


class FieldProblem(NamedTuple):
    """A problem of a value in an override.

    Attributes:
        path: The path of the value.
        explanation: What is wrong; the value is the subject of the sentence.
        value: The value; lab.config.problems.OMITTED if it may be secret.
    """

    path: Path
    explanation: str
    value: Any


def field_problems(name: str, overrides: Mapping[str, Any], minor_version: int | None) -> Iterator[FieldProblem]:
    """Yield the problems of a program's fields.

    Args:
        name: The name of the program's table.
        overrides: The fields.
        minor_version: The minor version of the program; None to accept the fields of all versions.
    """
    return _Walk(name, minor_version).mapping((), overrides, [table(name).root], "object")


def flag_explanation(
    name: str,
    flag: str,
    value: str,
    minor_version: int,
    emulated_minor: int | None = None,
    is_repeated: bool = False,
) -> str:
    """Explain what is wrong with a flag and its value. Return an empty string if nothing is.

    Args:
        name: The name of the program's table.
        flag: The flag without its dashes.
        value: Its value.
        minor_version: The minor version of the program.
        emulated_minor: The minor version that the program emulates, which decides on its feature gates; None for its
            own.
        is_repeated: True if the flag is set more than once.
    """
    flags = table(name)
    known = flags.names.get(flag)
    if known is None:
        unknown = f"is not a flag of {name}{_suggestion(flag, flags.names)}"
        return unknown if flags.is_complete(minor_version) else ""
    variant = flags.variant(known, minor_version)
    if variant is None:
        return (
            _unavailable(f"a flag of {name}", flags, known, minor_version) if flags.is_complete(minor_version) else ""
        )
    if is_repeated and variant.kind not in ("texts", "any"):
        return f"must have a single value, because {name} uses only the last one"
    problem = flag_problem(variant.kind, value)
    if not problem and known.path in VALUES.get(name, {}):
        problem = VALUES[name][known.path](value)
    if not problem and flag == "feature-gates":
        gates = "etcd-feature-gates" if name == "etcd" else "feature-gates"
        problem = _gates_explanation(gates, value, minor_version, emulated_minor)
    if not problem and flag in ("enable-admission-plugins", "disable-admission-plugins"):
        plugins = (
            _name_problem("admission-plugins", "an admission plugin", part, minor_version) for part in value.split(",")
        )
        problem = next(filter(None, plugins), "")
    return problem


class _Walk:
    """A walk through the fields of one program in one version."""

    def __init__(self, name: str, minor_version: int | None) -> None:
        self.name = name
        self.minor = minor_version
        self.table = table(name)
        self.values = VALUES.get(name, {})
        self.keys = KEYS.get(name, {})

    def value(self, path: Path, value: Any, fields: list[KnownField]) -> Iterator[FieldProblem]:
        """Yield the problems of a value.

        Args:
            path: The path of the value.
            value: The value.
            fields: The fields in the table that match the path, the most specific first.
        """
        variants = [(one, variant) for one in fields if (variant := self.table.variant(one, self.minor))]
        if not variants or value is None:
            return
        one, (kind, _, _) = variants[0]
        # The fields that are less specific have nothing to say about the values below this one.
        fields = fields[: fields.index(one) + 1]
        if kind == "any":
            return
        if kind in ("object", "map"):
            if isinstance(value, Mapping):
                yield from self.mapping(path, value, fields, kind)
            else:
                example = " such as MemoryQoS: true" if one.path == "featureGates" else ""
                explanation = (
                    "must be a mapping of names to true or false," if example else "must be a mapping of keys to values"
                )
                yield FieldProblem(path, explanation + example, value)
        elif kind == "list":
            if isinstance(value, list):
                items = [one.children["[]"] for one in fields if "[]" in one.children]
                for position, item in enumerate(value):
                    yield from self.value((*path, position), item, items)
            else:
                yield FieldProblem(path, "must be a list", value)
        else:
            explanation = field_problem(kind, value)
            if not explanation and one.path in self.values:
                explanation = self.values[one.path](value)
            if explanation:
                yield FieldProblem(path, explanation, value)

    def mapping(
        self, path: Path, value: Mapping[str, Any], fields: list[KnownField], kind: str
    ) -> Iterator[FieldProblem]:
        """Yield the problems of a mapping's keys and values; see `value` for the arguments."""
        for key, item in value.items():
            children = self.children(fields, key)
            allowed = self.keys.get(fields[-1].path)
            if allowed is not None and key not in allowed:
                yield FieldProblem((*path, key), f"is an unknown key{_suggestion(key, allowed)}", item)
            elif fields[-1].path == "featureGates":
                yield from self.gate((*path, key), key, item, children)
            elif not children:
                if kind == "object" and self.table.is_complete(self.minor):
                    names = [name for one in fields for name in one.children if name != "*"]
                    explanation = f"is not {TITLES[self.name]}{_suggestion(key, names)}"
                    yield FieldProblem((*path, key), explanation, value_of_unknown_key(item))
            elif all(self.table.variant(one, self.minor) is None for one in children) and children[0].variants:
                if item is not None and self.table.is_complete(self.minor):
                    assert self.minor is not None
                    explanation = _unavailable(TITLES[self.name], self.table, children[0], self.minor)
                    yield FieldProblem((*path, key), explanation, value_of_unknown_key(item))
            else:
                yield from self.value((*path, key), item, children)

    def children(self, fields: list[KnownField], key: str) -> list[KnownField]:
        """Return the fields for a key in a mapping, the most specific first."""
        found = [one.children[key] for one in fields if key in one.children]
        if not found and self.name == "containerd":
            # containerd's TOML library ignores the case of keys.
            folded = key.casefold()
            found = [child for one in fields for name, child in one.children.items() if name.casefold() == folded]
        return [*found, *(one.children["*"] for one in fields if "*" in one.children)]

    def gate(self, path: Path, gate: str, value: Any, children: list[KnownField]) -> Iterator[FieldProblem]:
        """Yield the problem of a feature gate."""
        problems = list(self.value(path, value, children))
        explanation = "" if problems or value is None else _gate_explanation("feature-gates", gate, value, self.minor)
        yield from problems or ([FieldProblem(path, explanation, value)] if explanation else [])


def _gates_explanation(name: str, value: str, minor_version: int, emulated_minor: int | None) -> str:
    """Explain what is wrong with a list of feature gates in the format of the command line."""
    for part in filter(None, value.split(",")):
        gate, equals, setting = part.strip().partition("=")
        if not equals or setting.strip().lower() not in ("true", "false"):
            return "must be feature gates with true or false, such as MemoryQoS=true,DRAExtendedResource=false"
        # A gate may have the name of its component: kube:MemoryQoS=true.
        gate, is_on = gate.strip().rpartition(":")[2], setting.strip().lower() == "true"
        # The program must know the gate, and the version that it behaves like must allow to change it.
        explanation = _gate_explanation(name, gate, None, minor_version) or _gate_explanation(
            name, gate, is_on, emulated_minor or minor_version
        )
        if explanation:
            return f"contains {gate}, which {explanation}"
    return ""


def _gate_explanation(name: str, gate: str, value: bool | None, minor_version: int | None) -> str:
    """Explain what is wrong with a feature gate; None as the value accepts every value."""
    if gate in GATE_GROUPS:
        return ""
    problem = _name_problem(name, "a feature gate", gate, minor_version)
    known = table(name).names.get(gate)
    if problem or known is None or value is None:
        return problem
    variant = table(name).variant(known, minor_version)
    if (
        minor_version is not None
        and variant
        and variant.kind in ("true", "false")
        and (variant.kind == "true") != value
    ):
        return f"is always {variant.kind} in {table(name).version(minor_version)} and cannot be changed"
    return ""


def _name_problem(name: str, title: str, value: str, minor_version: int | None) -> str:
    """Explain why a name is not in a table. Return an empty string if it is."""
    names = table(name)
    known = names.names.get(value)
    if not value or not names.is_complete(minor_version):
        return ""
    if known is None:
        return f"is not {title}{_suggestion(value, names.names)}"
    if names.variant(known, minor_version) is None:
        assert minor_version is not None
        return _unavailable(title, names, known, minor_version)
    return ""


def _unavailable(title: str, names: Table, known: KnownField, minor_version: int) -> str:
    return f"is not {title} in {names.version(minor_version)}; {names.availability(known)}"


def _suggestion(name: object, known_names: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the most similar known name, or a short list of all."""
    known_names = list(known_names)
    if similar := closest(name, known_names):
        return f"; did you mean {similar}?"
    return f"; the known names are {', '.join(known_names)}" if 0 < len(known_names) <= MAX_LISTED_NAMES else ""
