"""How many workers at a time may restart a service in a change."""

import asyncio
from collections import defaultdict

import pulumi


class StoppedError(Exception):
    """A worker is not changed, because another one failed."""


class Rollout:
    """Lets a limited number of workers change a service at once, and none any more after one failed.

    Only changes wait: when a service is first made, all workers make it at once. After a failure those that wait are
    told, so the remaining workers keep what they have.
    """

    def __init__(self, simultaneous: int) -> None:
        """simultaneous: how many workers, at least one."""
        self._places: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(simultaneous))
        self._failed = ""

    def hooks(self, node: str, service: str) -> pulumi.ResourceHookBinding:
        """What a worker's change of the service must pass through."""
        places = self._places[service]

        async def wait(_: pulumi.ResourceHookArgs) -> None:
            await places.acquire()
            if self._failed:
                places.release()
                raise StoppedError(f"{self._failed} failed, so {service} on {node} is left as it is")

        async def leave(_: pulumi.ResourceHookArgs) -> None:
            places.release()

        async def stop(_: pulumi.ErrorHookArgs) -> bool:
            self._failed = self._failed or f"{service} on {node}"
            places.release()
            return False

        return pulumi.ResourceHookBinding(
            before_update=[wait], after_update=[leave], on_error=[pulumi.ErrorHook(f"stop-{node}-{service}", stop)]
        )
