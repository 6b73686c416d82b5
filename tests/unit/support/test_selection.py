"""The selection of tests that a run keeps."""

import pytest

from tests.support.selection import named

CHOICES = ("one", "two", "three")


def test_names_keep_the_order_of_the_choices() -> None:
    assert named("--stages", "three,one", CHOICES) == ["one", "three"]


def test_unknown_name_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match=r"--stages cannot be four\. It can be: one, two, three\."):
        named("--stages", "one,four", CHOICES)
