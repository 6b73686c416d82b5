"""Errors that are meant for people: each message says what is wrong, where, and what to do."""


class HardwayError(Exception):
    """A problem that a person can solve. Commands print its message without a traceback."""


class HostError(HardwayError):
    """This machine cannot run the lab as it is."""


class ToolchainError(HardwayError):
    """A program, image or plugin can neither be downloaded nor built."""
