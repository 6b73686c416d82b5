"""The one error of this package that is meant for people."""


class ToolchainError(Exception):
    """Something can't be had: the message says what, where it was looked for, why it failed, and what to do."""
