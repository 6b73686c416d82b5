"""What is wrong with a configuration: collected, so that a person sees all of it at once."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

NodeFields = tuple[str, Mapping[str, Any]]
"""A node's key, as `hardway:workers[1]`, and those of its fields that no problem was found with."""

LONGEST_SHOWN = 60
"""Characters of a value that a message shows."""


class Absent(Enum):
    """The value of a key that is not there."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong.

    key: where, as `hardway:workers[1].address`.
    value: what stands there; ABSENT where nothing does.
    explanation: why that cannot be, what is allowed, and what to do.
    """

    key: str
    value: Any
    explanation: str

    def __str__(self) -> str:
        if self.value is ABSENT:
            return f"{self.key}: {self.explanation}"
        return f"{self.key} = {shown(self.value)}: {self.explanation}"


class ConfigurationError(Exception):
    """A configuration from which no lab can be made. Its message lists every problem found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"The configuration has {count}; nothing was changed.{lines}")


class Problems:
    """The problems found so far, in the order in which they were found."""

    def __init__(self, secret: Collection[str] = ()) -> None:
        """secret: the top-level keys in whose values secrets may be, so that no part of them is shown."""
        self._found: list[Problem] = []
        self._secret = secret

    def add(self, key: str, value: Any, explanation: str) -> None:
        """Notes a problem; see `Problem` for what the arguments are."""
        shows = re.split(r"[.\[]", key, maxsplit=1)[0] not in self._secret
        self._found.append(Problem(key=key, value=value if shows else ABSENT, explanation=explanation))

    def raise_any(self) -> None:
        """Raises ConfigurationError if a problem was found."""
        if self._found:
            raise ConfigurationError(tuple(self._found))


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"({type(value).__name__})"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"
