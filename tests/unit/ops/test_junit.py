"""Results as JUnit XML."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from ops import junit
from ops.junit import Case
from ops.smoke.rows import Result, Row, SmokeReport
from ops.verify.differences import Difference, VerifyReport


def cases(file: Path) -> dict[str, list[str]]:
    """Return the kind and message of every result other than success, by class and name of the test."""
    return {
        f"{case.get('classname')} {case.get('name')}": [f"{result.tag}: {result.get('message')}" for result in case]
        for case in ElementTree.parse(file).getroot()
    }


def test_every_result_is_written(tmp_path: Path) -> None:
    file = tmp_path / "results.xml"
    found = [
        Case(group="a", name="good", seconds=1.5),
        Case(group="a", name="bad", failure='<"no">\nmore'),
        Case(group="a", name="unknown", error="silent"),
        Case(group="a", name="off", skipped=""),
    ]
    junit.write(file, "suite", found)
    assert cases(file) == {
        "suite.a good": [],
        "suite.a bad": ['failure: <"no">'],
        "suite.a unknown": ["error: silent"],
        "suite.a off": ["skipped: "],
    }
    root = ElementTree.parse(file).getroot()
    assert [root.get(name) for name in ("tests", "failures", "errors", "skipped", "time")] == [
        *("4", "1", "1", "1"),
        "1.500",
    ]


def test_checks_of_smoke_are_tests() -> None:
    rows = (
        Row(check="pod to pod", source="a", target="b", seconds=0.5),
        Row(check="names", result=Result.FAILED, reason="no answer"),
        Row(check="logs", target="a", result=Result.SKIPPED, reason="no pod"),
    )
    assert SmokeReport(rows).test_cases() == [
        Case(group="pod to pod", name="a to b", seconds=0.5),
        Case(group="names", name="names", failure="no answer"),
        Case(group="logs", name="a", skipped="no pod"),
    ]


def test_services_of_verify_are_tests() -> None:
    report = VerifyReport(
        nodes=1,
        services=2,
        differences=(Difference("a", "kubelet", "/f", "differs"), Difference("a", "", "", "its clock is wrong")),
        unseen={"b": "silent"},
        unchanged=(("a", "etcd"),),
    )
    assert report.test_cases() == [
        Case(group="a", name="etcd"),
        Case(group="a", name="kubelet", failure="a  kubelet  /f: differs"),
        Case(group="a", name="node", failure="a  -  its clock is wrong"),
        Case(group="b", name="comparison", error="silent"),
    ]
