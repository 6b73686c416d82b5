"""The places where private keys may occur in the inputs of resources, and ways to find them there."""

TO_A_MACHINE = {"connection.privateKey", "stdin", "userData"}
"""Inputs that carry a key to a node."""
BETWEEN_CERTIFICATES = {"privateKeyPem", "caPrivateKeyPem"}
"""Inputs that carry a key from one resource of pulumi-tls to another."""


def lines(key: str) -> list[str]:
    """Return the lines of a key that identify it, without the markers of PEM."""
    return [line for line in key.splitlines() if line and not line.startswith("-----")]


def flattened(value: object, place: str = "") -> list[tuple[str, str]]:
    """Return every text in nested inputs with the keys that lead to it, without positions in lists."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in flattened(item, f"{place}.{key}".lstrip("."))]
    if isinstance(value, list):
        return [found for item in value for found in flattened(item, place)]
    return [(place, value)] if isinstance(value, str) else []
