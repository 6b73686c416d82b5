"""How many workers at a time may restart a service in a change."""

import asyncio
from collections import defaultdict

import pulumi


class Rollout:
    """Lets a limited number of workers change a service at once, and none any more after one failed.

    Only changes wait: when a service is first made, all workers make it at once. The engine stops starting steps once
    one failed; those that wait here are then told off by it, so the remaining workers keep what they have.
    """

    def __init__(self, simultaneous: int) -> None:
        """simultaneous: how many workers, at least one."""
        self._places: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(simultaneous))

    def hooks(self, service: str) -> pulumi.ResourceHookBinding:
        """What a worker's change of the service must pass through."""
        places = self._places[service]

        async def wait(_: pulumi.ResourceHookArgs) -> None:
            await places.acquire()

        async def leave(_: pulumi.ResourceHookArgs) -> None:
            places.release()

        return pulumi.ResourceHookBinding(before_update=[wait], after_update=[leave])
