"""URNs, by which the engine identifies resources."""


def resource_name(urn: str) -> str:
    """Return the name of a resource in the program, which is the last part of its URN."""
    return urn.rpartition("::")[2]
