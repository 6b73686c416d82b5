"""A limit for the number of workers that change a service at the same time."""

import asyncio
from collections import defaultdict

import pulumi


class StoppedError(Exception):
    """A worker is not changed because another worker failed."""


class Rollout:
    """Limits how many workers change a service at the same time, and stops the others after a failure.

    Only changes wait. When a service is new, all workers create it at the same time. After a failure, the waiting
    workers stop, so that they keep their old version.
    """

    def __init__(self, name: str, simultaneous: int) -> None:
        """Register the hooks.

        Args:
            name: Unique name among the rollouts.
            simultaneous: Number of workers, at least one.
        """
        self._places: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(simultaneous))
        self._changes: dict[str, tuple[str, str]] = {}
        self._failed = ""
        # One set of hooks for all services, because each hook costs calls of the engine. The name of the resource
        # identifies the service.
        self._hooks = pulumi.ResourceHookBinding(
            before_update=[pulumi.ResourceHook(f"wait-{name}", self._wait)],
            after_update=[pulumi.ResourceHook(f"leave-{name}", self._leave)],
            on_error=[pulumi.ErrorHook(f"stop-{name}", self._stop)],
        )

    def hooks(self, resource: str, node: str, service: str) -> pulumi.ResourceHookBinding:
        """Return the hooks of the named resource, which changes a service on a node."""
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
