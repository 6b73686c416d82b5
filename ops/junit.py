"""The JUnit XML format, in which CI systems show the results of tests."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Case:
    """A test and its result. It succeeded if it has no other result.

    Attributes:
        group: Name of the group, such as a node.
        name: Name of the test.
        seconds: Duration. None if nothing was measured.
        failure: Description of the failure; empty for none.
        error: Reason why the test could not be made; empty for none.
        skipped: Reason why the test was skipped. None if it was not.
    """

    group: str
    name: str
    seconds: float | None = None
    failure: str = ""
    error: str = ""
    skipped: str | None = None


def write(file: Path, suite: str, cases: Sequence[Case]) -> None:
    """Write the results of a suite of tests into a file."""
    root = ElementTree.Element(
        "testsuite",
        name=suite,
        tests=str(len(cases)),
        failures=str(sum(bool(case.failure) for case in cases)),
        errors=str(sum(bool(case.error) for case in cases)),
        skipped=str(sum(case.skipped is not None for case in cases)),
        time=f"{sum(case.seconds or 0 for case in cases):.3f}",
    )
    for case in cases:
        element = ElementTree.SubElement(
            root, "testcase", classname=f"{suite}.{case.group}", name=case.name, time=f"{case.seconds or 0:.3f}"
        )
        for kind, text in (("failure", case.failure), ("error", case.error)):
            if text:
                ElementTree.SubElement(element, kind, message=text.partition("\n")[0]).text = text
        if case.skipped is not None:
            ElementTree.SubElement(element, "skipped", message=case.skipped)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
