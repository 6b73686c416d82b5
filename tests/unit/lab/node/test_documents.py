"""YAML text and overlays: quoting for Go programs, and the merge of overrides into defaults."""

from typing import Any

import pytest

from lab.node.documents import overlay, to_yaml

Fields = dict[str, Any]

OVERLAYS: dict[str, tuple[Fields, Fields, Fields]] = {
    "nothing": ({"a": 1}, {}, {"a": 1}),
    "a new key": ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    "a value": ({"a": 1}, {"a": 2}, {"a": 2}),
    "a nested key": ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
    "null for a key": ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    "null for a mapping": ({"a": {"b": 1}}, {"a": None}, {}),
    "null for a nested key": ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
    "null for a missing key": ({"a": 1}, {"b": None}, {"a": 1}),
    "null in a missing mapping": ({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}),
    "a mapping for a value": ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    "a value for a mapping": ({"a": {"b": 1}}, {"a": 2}, {"a": 2}),
    "a list replaces": ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
    "false is not null": ({"a": True}, {"a": False}, {"a": False}),
}


@pytest.mark.parametrize("case", OVERLAYS)
def test_overlay_merges_mappings_and_replaces_other_values(case: str) -> None:
    base, overrides, expected = OVERLAYS[case]
    assert overlay(base, overrides) == expected


def test_overlay_does_not_change_its_arguments() -> None:
    base, overrides = {"a": {"b": 1}}, {"a": {"c": 2}}
    overlay(base, overrides)["a"]["d"] = 3
    assert (base, overrides) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_overlay_keeps_base_order_and_sorts_new_keys() -> None:
    base = {"kind": 1, "address": 2}
    assert [*overlay(base, {"z": 1, "b": 1, "address": 3})] == ["kind", "address", "b", "z"]


@pytest.mark.parametrize(
    "text", ["y", "N", "08", "0o17", "1e3", "1_0e3", "-5E-1", ".5", "0x1F", "true", "12", "null", ""]
)
def test_text_that_go_reads_as_another_type_is_quoted(text: str) -> None:
    assert to_yaml({"value": text}) == f"value: '{text}'\n"


@pytest.mark.parametrize("text", ["10.240.0.10", "yes-man", "v1.36.3", "100m", "64Mi", "5m0s", "e3", "1e3x"])
def test_other_text_is_not_quoted(text: str) -> None:
    assert to_yaml({"value": text}) == f"value: {text}\n"
