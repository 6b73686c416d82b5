"""The tables of fields and flags, one for each program.

A line of a table has the path of a field or the name of a flag, the kind of its values, and the minor versions that
have it: `35-`, `-32` or `32-35`; nothing if all versions in the table have it. In a path, `/` separates keys, `*` is
any key of a mapping, and `[]` any item of a list. The first line has the versions from which the table was generated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from lab.versions import minor

FOLDER = Path(__file__).parent

NEWEST = 10**6
"""The last minor version of a field that the newest version in the table has."""


class Variant(NamedTuple):
    """The kind of a field's values in some versions.

    Attributes:
        kind: The kind, see `lab.config.fields.values`.
        first: The first minor version; 0 if the oldest version in the table has it.
        last: The last minor version, or NEWEST.
    """

    kind: str
    first: int
    last: int


@dataclass(kw_only=True)
class KnownField:
    """A field, a flag, or an entry of a table that is only a list of names.

    Attributes:
        path: The path in the table, such as `evictionHard/*`.
        variants: Its variants, oldest versions first; empty if only fields below it are in the table.
        children: The fields below it by key.
    """

    path: str = ""
    variants: list[Variant] = field(default_factory=list)
    children: dict[str, "KnownField"] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        minors: The minor versions from which it was generated, oldest first.
        major: The beginning of all versions, such as `v1`.
        root: The field that contains all others.
    """

    major: str
    minors: Sequence[int]
    root: KnownField

    @property
    def names(self) -> Mapping[str, KnownField]:
        """The fields or flags at the top."""
        return self.root.children

    def variant(self, one: KnownField, minor_version: int | None) -> Variant | None:
        """Return the variant of a field in a minor version.

        Args:
            one: The field.
            minor_version: The version; None for the newest version that has the field. A version that the table does
                not have has the fields of both its neighbors in the table.

        Returns:
            The variant; None if the version does not have the field.
        """
        considered = self.minors if minor_version is None else self._neighbors(minor_version)
        found = (v for number in reversed(considered) for v in one.variants if v.first <= number <= v.last)
        return next(found, None)

    def is_complete(self, minor_version: int | None) -> bool:
        """Return False if a version is older or newer than all in the table. It may have fields that no other has."""
        return minor_version is None or self.minors[0] <= minor_version <= self.minors[-1]

    def availability(self, one: KnownField) -> str:
        """Describe the versions that have a field: `only v1.35 and newer have it`."""
        return f"only {' and '.join(self._span(variant) for variant in one.variants)} have it"

    def version(self, minor_version: int) -> str:
        """Return a minor version as a message shows it, such as `v1.36`."""
        return f"{self.major}.{minor_version}"

    def _span(self, variant: Variant) -> str:
        if variant.last == NEWEST:
            return f"{self.version(variant.first)} and newer"
        if not variant.first:
            return f"{self.version(variant.last)} and older"
        return f"{self.version(variant.first)} to {self.version(variant.last)}"

    def _neighbors(self, minor_version: int) -> Sequence[int]:
        if minor_version in self.minors:
            return (minor_version,)
        older = [number for number in self.minors if number < minor_version]
        newer = [number for number in self.minors if number > minor_version]
        return (*older[-1:], *newer[:1])


@cache
def table(name: str) -> Table:
    """Return a table by its name, such as `kubelet`."""
    header, *lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    root = KnownField()
    for line in lines:
        path, kind, span = (*line.split(" "), "-")[:3]
        first, _, last = span.partition("-")
        one = root
        for key in path.split("/"):
            one = one.children.get(key) or one.children.setdefault(
                key, KnownField(path=f"{one.path}/{key}".lstrip("/"))
            )
        one.variants.append(Variant(kind, int(first or 0), int(last or NEWEST)))
    versions = header.removeprefix("# ").split(" ")
    return Table(major=versions[0].partition(".")[0], minors=tuple(map(minor, versions)), root=root)
