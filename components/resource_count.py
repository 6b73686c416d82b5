"""The number of the program's resources, which `hardway up` shows its progress with."""

import pulumi

from host.engine.progress import RESOURCES, is_counted


class ResourceCount:
    """Counts the resources that the program creates from now on.

    The engine learns of a resource only when everything that it depends on exists, so it knows their number only at
    the end.
    """

    def __init__(self) -> None:
        self._number = 0
        # The program replaces the function: see `components.debug_log`.
        self._debug = pulumi.log.debug
        pulumi.runtime.register_stack_transformation(self._count)

    def report(self) -> None:
        """Put the number into the log of the engine's events, where only `hardway up` and `--debug` show it."""
        self._debug(f"{RESOURCES}{self._number}")

    def _count(self, args: pulumi.ResourceTransformationArgs) -> None:
        self._number += isinstance(args.resource, pulumi.CustomResource) and is_counted(args.type_)
