"""Problems in a configuration, collected so that a user sees all of them at once."""

import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from lab.secrets import HIDDEN, is_distinctive
from system.errors import HardwayError

MAX_SHOWN_LENGTH = 60
"""The number of characters of a value that a message shows."""


class Omitted(Enum):
    """The type of OMITTED."""

    OMITTED = "omitted"


OMITTED: Final = Omitted.OMITTED
"""The value of a problem if the message must not show one: the key is missing, or its value may be secret."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One problem in a configuration.

    Attributes:
        key: The full key, such as `hardway:workers[1].address`.
        explanation: What is wrong with the value, what is allowed, and what to do. The key is the subject of its first
            sentence: "must be a whole number".
        value: The value; OMITTED if the message must not show one.
    """

    key: str
    explanation: str
    value: Any = OMITTED

    def __str__(self) -> str:
        if self.value is OMITTED:
            return f"{self.key}: {self.explanation}"
        return f"{self.key} = {display(self.value)}: {self.explanation}"


class ConfigurationError(HardwayError):
    """The configuration is invalid. The message lists all problems."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"The configuration has {count}; nothing was changed.{lines}")


class Problems:
    """The problems found so far, in the order of their discovery."""

    def __init__(self, secret_keys: Collection[str] = ()) -> None:
        """Start without problems.

        Args:
            secret_keys: The top-level keys with values that may contain secrets. No message shows any part of them.
        """
        self._problems: list[Problem] = []
        self._secret_keys = secret_keys
        self._secret_texts: list[str] = []

    def hide(self, texts: Iterable[str]) -> None:
        """Replace secret texts in the explanations of all later problems."""
        # The longest first, because a secret can be a part of another one.
        self._secret_texts = sorted(filter(is_distinctive, texts), key=len, reverse=True)

    def add(self, key: str, explanation: str, value: Any = OMITTED) -> None:
        """Add a problem. See `Problem` for the arguments."""
        top_level_key = re.split(r"[.\[]", key, maxsplit=1)[0]
        shown_value = OMITTED if top_level_key in self._secret_keys else value
        for text in self._secret_texts:
            explanation = explanation.replace(text, HIDDEN)
        self._problems.append(Problem(key=key, explanation=explanation, value=shown_value))

    def raise_if_any(self) -> None:
        """Raise ConfigurationError if there is a problem."""
        if self._problems:
            raise ConfigurationError(tuple(self._problems))


def display(value: Any) -> str:
    """Return a value as a message shows it: on one line, and cut if it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = f"({type(value).__name__})"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= MAX_SHOWN_LENGTH else f"{text[: MAX_SHOWN_LENGTH - 1]}…"
