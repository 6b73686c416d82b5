"""The kinds of values in the tables, and checks of single values.

Programs in Go decode the values, so the formats of text are those of Go's standard library and of Kubernetes.
"""

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

Check = Callable[[Any], str]
"""Explains what is wrong with a value. It returns an empty string if nothing is."""

DURATION = re.compile(
    r"[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*)"
)
"""The format of Go's time.ParseDuration: https://pkg.go.dev/time#ParseDuration."""

QUANTITY = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?")
"""The format of https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/."""

GO_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|[1-9][0-9]*|0)")
"""The format of Go's strconv.ParseInt with base 0, without underscores between digits."""

GO_BOOLEANS = ("1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False")
"""The format of Go's strconv.ParseBool."""

INTEGERS: Mapping[str, tuple[int, int]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "int": (-(2**63), 2**63 - 1),
    "uint": (0, 2**64 - 1),
    "nanoseconds": (-(2**63), 2**63 - 1),
}
"""The smallest and the largest number of each kind of integer."""


def field_problem(kind: str, value: Any) -> str:
    """Explain what is wrong with the value of a field in a YAML or TOML file, which is neither a mapping nor a list."""
    if kind in INTEGERS:
        return _integer_problem(kind, value)
    if kind == "bool":
        return "" if isinstance(value, bool) else "must be true or false, without quotes"
    if kind.startswith("float"):
        return "" if _is_number(value) else "must be a number, without quotes"
    if (kind == "quantity" and _is_number(value)) or (kind == "durationOrNanoseconds" and _is_integer(value)):
        return ""
    if not isinstance(value, str):
        quotes = "" if isinstance(value, dict | list) else ", in quotes"
        return f"must be {TEXT_DESCRIPTIONS.get(kind, 'text')}{quotes}"
    return text_problem(kind, value)


def flag_problem(kind: str, value: str) -> str:
    """Explain what is wrong with the value of a flag, which is always text."""
    if kind in INTEGERS:
        return "must be a whole number" if not GO_INTEGER.fullmatch(value) else _integer_problem(kind, _integer(value))
    if kind == "bool":
        return "" if value in GO_BOOLEANS else "must be true or false"
    if kind == "float":
        try:
            float(value)
        except ValueError:
            return "must be a number"
        return ""
    if kind == "ip":
        return "" if not value else address(value)
    return text_problem(kind, value)


def text_problem(kind: str, value: str) -> str:
    """Explain what is wrong with text of a kind."""
    if kind.startswith("duration"):
        return duration(value)
    if kind == "quantity":
        return quantity(value)
    if kind.startswith("enum("):
        return one_of(*kind.removeprefix("enum(").removesuffix(")").split("|"))(value)
    return ""


def one_of(*choices: str) -> Check:
    """Return a check that text is one of several, or empty, because Go programs replace empty text by the default."""

    def check(value: Any) -> str:
        return "" if value in ("", *choices) else f"must be one of {', '.join(choices)}"

    return check


def every_one_of(*choices: str) -> Check:
    """Return a check that each part of comma-separated text is one of several."""

    def check(value: Any) -> str:
        wrong = [part for part in str(value).split(",") if part not in ("", *choices)]
        return f"must contain only {', '.join(choices)}" if wrong else ""

    return check


def at_least(minimum: int) -> Check:
    """Return a check that a number is not too small."""
    return lambda value: "" if _number(value) >= minimum else f"must be a number from {minimum}"


def whole_number(minimum: int) -> Check:
    """Return a check that a whole number is not too small."""
    return lambda value: "" if _number(value) >= minimum else f"must be a whole number from {minimum}"


def between(minimum: float, maximum: float) -> Check:
    """Return a check that a number is neither too small nor too large."""
    return lambda value: "" if minimum <= _number(value) <= maximum else f"must be from {minimum} to {maximum}"


def matches(pattern: str, explanation: str) -> Check:
    """Return a check that text has a format."""
    return lambda value: "" if re.fullmatch(pattern, str(value)) else explanation


def duration(value: Any) -> str:
    """Check a duration."""
    return "" if DURATION.fullmatch(value) else "must be a duration with its units, such as 30s or 1h30m"


def optional_duration(value: Any) -> str:
    """Check a duration that may be empty."""
    return duration(value) if value else ""


def quantity(value: Any) -> str:
    """Check a quantity of a resource."""
    return "" if QUANTITY.fullmatch(str(value)) else "must be a quantity, such as 100m, 1Gi or 10Mi"


def positive_quantity(value: Any) -> str:
    """Check a quantity that is not negative."""
    return "must not be negative" if str(value).startswith("-") else quantity(value)


def threshold(value: Any) -> str:
    """Check an eviction threshold: pkg/kubelet/eviction/helpers.go, parseThresholdStatement."""
    text = str(value)
    if re.fullmatch(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)%", text):
        return "" if float(text[:-1]) <= 100 else "must be at most 100%"
    if text.startswith("-") or not QUANTITY.fullmatch(text):
        return "must be a quantity, such as 100Mi, or a percentage, such as 5%"
    return ""


def address(value: Any) -> str:
    """Check an IP address."""
    try:
        ip_address(value)
    except ValueError:
        return "must be an IP address"
    return ""


def address_and_port(value: Any) -> str:
    """Check an IP address that a port may follow, or an empty text."""
    host, colon, port = str(value).rpartition(":")
    has_port = bool(colon) and re.fullmatch(r"[0-9]{1,5}", port) is not None and not address(host.strip("[]"))
    return (
        ""
        if not value or has_port or not address(value)
        else "must be an IP address with a port, such as 0.0.0.0:10249"
    )


def cidr(value: Any) -> str:
    """Check an address range."""
    try:
        ip_network(value, strict=False)
    except ValueError:
        return "must be an address range, such as 10.0.0.0/8"
    return "" if "/" in value else "must be an address range with its prefix length, such as 10.0.0.0/8"


TEXT_DESCRIPTIONS = {
    **dict.fromkeys(("duration", "durationOrNanoseconds"), "a duration such as 30s"),
    "quantity": "a quantity such as 1Gi",
}
"""The descriptions of kinds of text in messages."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return value if _is_number(value) else float(_integer(value)) if GO_INTEGER.fullmatch(value) else float(value)


def _integer(text: str) -> int:
    # Go reads 010 as octal, and Python accepts only 0o10.
    return int(re.sub(r"^([-+]?)0(?=[0-7])", r"\g<1>0o", text), 0)


def _integer_problem(kind: str, value: Any) -> str:
    minimum, maximum = INTEGERS[kind]
    if not _is_integer(value):
        return f"must be a whole number{', without quotes' if isinstance(value, str) else ''}"
    return "" if minimum <= value <= maximum else f"must be from {minimum} to {maximum}"
