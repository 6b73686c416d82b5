"""The one error of this package that is meant for people."""


class HostError(Exception):
    """The machine can't carry the lab as it is: the message says what is wrong, where, and what to do about it."""
