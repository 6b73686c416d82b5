"""The progress of `pulumi up`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from host.engine import progress
from host.engine.progress import RESOURCES, Changes
from system import console

COMMAND, KEY, COMPONENT = "command:remote:Command", "tls:index/privateKey:PrivateKey", "hardway:node:Worker"


def registered(number: int) -> dict[str, Any]:
    return {"diagnosticEvent": {"message": f"{RESOURCES}{number}\n", "severity": "debug"}}


def step(event: str, operation: str, name: str, type_: str = COMMAND) -> dict[str, Any]:
    state = {"custom": type_ != COMPONENT}
    old, new = (state, None) if operation == "delete" else (None, state)
    metadata = {"op": operation, "urn": f"urn::{type_}::{name}", "type": type_, "old": old, "new": new}
    return {event: {"metadata": metadata}}


def run(operation: str, name: str, type_: str = COMMAND) -> list[dict[str, Any]]:
    return [step(event, operation, name, type_) for event in ("resourcePreEvent", "resOutputsEvent")]


def read(*events: dict[str, Any]) -> Changes:
    changes = Changes()
    for event in events:
        changes.read(event)
    return changes


def test_only_changes_count() -> None:
    changes = read(registered(2), *run("same", "a"), *run("update", "b"), *run("create", "key", KEY))
    changes.read(step("resourcePreEvent", "create", "node", COMPONENT))
    assert (changes.done, changes.total) == (1, 1)


def test_number_is_unknown_until_all_resources_are_compared() -> None:
    changes = read(registered(13), *run("same", "a"))
    assert (changes.total, changes.description) == (None, "changes")
    for event in [*run("update", "b"), step("resourcePreEvent", "update", "c")]:
        changes.read(event)
    assert (changes.done, changes.total, changes.description) == (1, None, "changes of at most 12 resources")
    for name in range(10):
        changes.read(step("resOutputsEvent", "same", str(name)))
    assert (changes.done, changes.total, changes.description) == (1, 2, "changes")


def test_number_is_known_from_the_start_in_a_new_lab() -> None:
    changes = read(registered(13), step("resourcePreEvent", "create", "a"))
    assert (changes.done, changes.total, changes.description) == (0, 13, "changes")


def test_number_is_unknown_until_the_program_has_ended() -> None:
    changes = read(*run("create", "a"))
    assert (changes.done, changes.total) == (1, None)


def test_replaced_resource_is_one_change() -> None:
    half = [*run("delete-replaced", "a"), *run("replace", "a")]
    changes = read(registered(1), *half)
    assert (changes.done, changes.total) == (0, 1)
    for event in run("create-replacement", "a"):
        changes.read(event)
    assert (changes.done, changes.total) == (1, 1)


def test_resources_that_leave_count() -> None:
    changes = read(registered(1), *run("same", "a"), *run("delete", "b"))
    assert (changes.done, changes.total) == (1, 1)


def test_failed_resource_is_not_done() -> None:
    changes = read(registered(1), step("resourcePreEvent", "create", "a"), step("resOpFailedEvent", "create", "a"))
    assert (changes.done, changes.total) == (0, 1)


def test_longest_running_resource_is_named_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = read(step("resourcePreEvent", "create", "node-0-kubelet"), step("resourcePreEvent", "update", "late"))
    assert changes.description == "changes"
    monkeypatch.setattr(progress, "_WAITING_AFTER", -1)
    assert changes.description == "changes, waiting for node-0-kubelet"


def test_lines_follow_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_POLL_INTERVAL", 0.001)
    monkeypatch.setattr(console, "MIN_INTERVAL", 0)
    log, printed = tmp_path / "events", ""
    lines = "".join(json.dumps(event) + "\n" for event in (registered(4), *run("create", "a")))
    with progress.shown(log):
        log.write_text(lines + '{"resOut')
        while "1 of 4 (25 %)" not in printed:
            printed += capsys.readouterr().err
        log.write_text(lines + "".join(json.dumps(event) + "\n" for event in run("create", "b")))
        while "2 of 4 (50 %), about" not in printed:
            printed += capsys.readouterr().err
