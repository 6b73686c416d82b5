"""A limit for the number of workers that change a service at the same time."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.canary import Canary
from components.connection import ScriptError
from components.drain import Drain
from lab.node.service import Service


class StoppedError(pulumi.RunError):
    """A worker is not changed because another worker failed. The engine shows only the message."""


@dataclass(frozen=True)
class _Change:
    node: str
    service: Service
    drain: Drain | None
    position: int

    def __str__(self) -> str:
        return f"{self.service.name} on {self.node}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that describe the change."""
        return {
            "HARDWAY_NODE": self.node,
            "HARDWAY_SERVICE": self.service.name,
            "HARDWAY_STACK": pulumi.get_stack(),
        }


class Rollout:
    """Limits how many workers change a service at the same time, and stops the others after a failure.

    Only changes wait. When a service is new, all workers create it at the same time. After a failure, the waiting
    workers stop, so that they keep their old version. With a canary, all others wait until it has accepted the first
    worker that changes the service. Otherwise workers change as they come, or in the order of the program.
    """

    def __init__(
        self,
        name: str,
        simultaneous: int,
        canary: Canary | None = None,
        *,
        keeps_order: bool = False,
        follows: Mapping[str, str] | None = None,
    ) -> None:
        """Register the hooks.

        Args:
            name: Unique name among the rollouts.
            simultaneous: Number of workers, at least one.
            canary: Checks the first worker of each service; None for no check.
            keeps_order: True if workers change in the order in which the program adds them.
            follows: Service to the service that must have changed on all workers before.
        """
        self._simultaneous, self._keeps_order, self._follows = simultaneous, keeps_order, follows or {}
        self._commands: dict[str, list[pulumi.Resource]] = defaultdict(list)
        self._places: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(simultaneous))
        self._changes: dict[str, _Change] = {}
        self._canary = canary
        self._first: dict[str, tuple[_Change, asyncio.Event]] = {}
        self._failed = ""
        # One set of hooks for all services, because each hook costs calls of the engine. The name of the resource
        # identifies the service.
        self._hooks = pulumi.ResourceHookBinding(
            before_update=[pulumi.ResourceHook(f"wait-{name}", self._wait)],
            after_update=[pulumi.ResourceHook(f"leave-{name}", self._leave)],
            on_error=[pulumi.ErrorHook(f"stop-{name}", self._stop)],
        )

    def hooks(
        self, resource: str, node: str, service: Service, drain: Drain | None = None
    ) -> pulumi.ResourceHookBinding:
        """Return the hooks of the named resource, which changes a service on a node.

        Args:
            resource: Name of the resource.
            node: Name of the node.
            service: The service.
            drain: Drains the node during a change that its pods do not survive; None if the pods always stay.
        """
        self._changes[resource] = _Change(node, service, drain, len(self._commands[service.name]))
        return self._hooks

    def add(self, service: Service, command: pulumi.Resource) -> None:
        """Add the resource that changes a service on the next worker."""
        self._commands[service.name].append(command)

    async def _wait(self, args: pulumi.ResourceHookArgs) -> None:
        change = self._changes[args.name]
        await self._wait_for_service_before(change)
        await self._wait_for_first(change)
        await self._wait_for_earlier(change)
        await self._places[change.service.name].acquire()
        if self._failed:
            self._end(change)
            raise StoppedError(f"{self._failed} failed, so {change} is left as it is")
        if change.drain:
            try:
                await change.drain.begin(args.old_inputs or {}, args.new_inputs or {})
            except ScriptError as error:
                self._fail(change)
                raise StoppedError(f"{change} is left as it is, because the node was not drained: {error}") from None

    async def _wait_for_first(self, change: _Change) -> None:
        """Wait until the canary has accepted the first node, unless this is the first one."""
        if self._canary and change.service.unit and change.service.activation == "restart":
            first, accepted = self._first.setdefault(change.service.name, (change, asyncio.Event()))
            if first is not change:
                await accepted.wait()

    async def _wait_for_service_before(self, change: _Change) -> None:
        """Wait until all workers have changed the service that comes before this one. A failure counts as an end."""
        if before := self._follows.get(change.service.name):
            commands = [command.urn.future() for command in self._commands[before]]
            await asyncio.gather(*commands, return_exceptions=True)

    async def _wait_for_earlier(self, change: _Change) -> None:
        """Wait for the workers before, except as many as may change together with this one.

        A failure counts as an end, because the program then stops this worker, too.
        """
        if self._keeps_order:
            number = max(change.position + 1 - self._simultaneous, 0)
            earlier = [command.urn.future() for command in self._commands[change.service.name][:number]]
            await asyncio.gather(*earlier, return_exceptions=True)

    async def _leave(self, args: pulumi.ResourceHookArgs) -> None:
        change = self._changes[args.name]
        try:
            if change.drain:
                await change.drain.end()
            if self._canary and self._is_first(change):
                await self._canary.check(change.variables)
        except Exception:
            self._failed = self._failed or str(change)
            raise
        finally:
            self._end(change)

    async def _stop(self, args: pulumi.ErrorHookArgs) -> bool:
        change = self._changes[args.name]
        self._fail(change)
        if change.drain:
            await change.drain.end()
        return False

    def _is_first(self, change: _Change) -> bool:
        return self._first.get(change.service.name, (None,))[0] is change

    def _fail(self, change: _Change) -> None:
        self._failed = self._failed or str(change)
        self._end(change)

    def _end(self, change: _Change) -> None:
        """Let the next node begin."""
        if self._is_first(change):
            self._first[change.service.name][1].set()
        self._places[change.service.name].release()
