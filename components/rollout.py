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

    def __init__(self, name: str, simultaneous: int) -> None:
        """name: what tells it from other rollouts. simultaneous: how many workers, at least one."""
        self._places: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(simultaneous))
        self._changes: dict[str, tuple[str, str]] = {}
        self._failed = ""
        # The same for all, as each hook costs calls of the engine; the resource's name says whose change it is.
        self._hooks = pulumi.ResourceHookBinding(
            before_update=[pulumi.ResourceHook(f"wait-{name}", self._wait)],
            after_update=[pulumi.ResourceHook(f"leave-{name}", self._leave)],
            on_error=[pulumi.ErrorHook(f"stop-{name}", self._stop)],
        )

    def hooks(self, resource: str, node: str, service: str) -> pulumi.ResourceHookBinding:
        """What a worker's change of the service must pass through. resource: the name of the resource that makes it."""
        self._changes[resource] = node, service
        return self._hooks

    async def _wait(self, args: pulumi.ResourceHookArgs) -> None:
        node, service = self._changes[args.name]
        await self._places[service].acquire()
        if self._failed:
            self._places[service].release()
            raise StoppedError(f"{self._failed} failed, so {service} on {node} is left as it is")

    async def _leave(self, args: pulumi.ResourceHookArgs) -> None:
        _, service = self._changes[args.name]
        self._places[service].release()

    async def _stop(self, args: pulumi.ErrorHookArgs) -> bool:
        node, service = self._changes[args.name]
        self._failed = self._failed or f"{service} on {node}"
        self._places[service].release()
        return False
