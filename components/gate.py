"""A gate that keeps all changes of machines back until a check has passed."""

import asyncio

import pulumi


class Gate:
    """Makes inputs known only when a resource is registered, whose hooks can refuse the update before that.

    The inputs get no dependency, because their resources need nothing of that resource.
    """

    def __init__(self) -> None:
        self._checked: pulumi.Resource | None = None

    def open_after(self, resource: pulumi.Resource) -> None:
        """Let the inputs be known as soon as a resource is registered."""
        self._checked = resource

    def hold(self, value: str) -> pulumi.Output[str]:
        """Return an input that is known when the gate is open."""
        return pulumi.Output.from_input(asyncio.ensure_future(self._wait(value)))

    async def _wait(self, value: str) -> str:
        assert self._checked, "the gate is never opened"
        await self._checked.urn.future()
        return value
