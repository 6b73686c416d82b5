"""Faults in the program, which are edits of its files."""

import ast
from pathlib import Path

import pytest

from tests.support.faults import EDITS, FAULTS, Edit

CHECKOUT = Path(__file__).parents[3]


@pytest.mark.parametrize("edit", EDITS)
def test_edit_changes_the_file_and_leaves_it_valid(edit: Edit) -> None:
    edited = edit.edited(CHECKOUT)
    assert edited != (CHECKOUT / edit.file).read_text()
    ast.parse(edited)


def test_every_fault_that_is_an_edit_is_tried_here() -> None:
    assert {fault.make for fault in FAULTS.values() if isinstance(fault.make, Edit)} <= set(EDITS)
