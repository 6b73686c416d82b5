"""A limit for the number of VMs that are recreated at the same time."""

import asyncio
from collections.abc import Mapping, Sequence

import pulumi

from components.rollout import StoppedError


class VmRollout:
    """Limits how many existing VMs are recreated at the same time, and stops the others after a failure.

    Whether a VM must be recreated is the engine's decision. So an existing VM waits for its turn before the engine sees
    it. If it stays and its node is Ready, its turn ends at once. Otherwise, its turn lasts until its node is in the
    cluster, also if an interrupted run has recreated it. New VMs do not wait: a new lab is created in parallel.
    """

    def __init__(self, existing: Mapping[str, str], simultaneous: int, after: "VmRollout | None" = None) -> None:
        """Prepare the turns.

        Args:
            existing: UUID of each VM before this run, by its name.
            simultaneous: Number of VMs, at least one.
            after: The rollout of VMs whose turns must end first.
        """
        self._existing = existing
        self._places = asyncio.Semaphore(simultaneous)
        self._after = after
        self._first: list[pulumi.Resource] = []
        self._turns: dict[str, asyncio.Future[bool]] = {}
        self._ends: list[asyncio.Future[None]] = []
        self._failed = ""

    def in_turn(self, vm: str, value: pulumi.Output[str]) -> pulumi.Output[str]:
        """Return an input of a VM that is known only when it is the VM's turn."""
        if vm not in self._existing:
            return value
        if vm not in self._turns:
            self._turns[vm] = asyncio.ensure_future(self._wait())
        turn: pulumi.Output[bool] = pulumi.Output.from_input(self._turns[vm])
        return pulumi.Output.all(value, turn).apply(lambda known: str(known[0]))

    def start_after(self, command: pulumi.Resource) -> None:
        """Let all turns begin only after a command has run."""
        self._first.append(command)

    def end_turn(
        self, vm: str, domain: pulumi.CustomResource, node: Sequence[pulumi.CustomResource], *, is_ready: bool
    ) -> None:
        """End the turn of a VM.

        Args:
            vm: Name of the VM.
            domain: The VM.
            node: All commands of its node. None of them may depend on a VM that can wait for its turn.
            is_ready: The node was Ready before this run.
        """
        if vm in self._turns:
            self._ends.append(asyncio.ensure_future(self._end(vm, domain, node, is_ready)))

    async def _wait(self) -> bool:
        if self._after:
            await asyncio.gather(*self._after._ends)
        await asyncio.gather(*(command.urn.future() for command in self._first))
        await self._places.acquire()
        failed = self._failed or (self._after and self._after._failed)
        if failed:
            self._places.release()
            raise StoppedError(f"{failed} was not recreated completely, so this VM is left as it is")
        return True

    async def _end(
        self, vm: str, domain: pulumi.CustomResource, node: Sequence[pulumi.CustomResource], is_ready: bool
    ) -> None:
        try:
            await self._turns[vm]
        except StoppedError:
            return
        try:
            # Unknown in a preview.
            uuid = await domain.id.future()
            if uuid is not None and not (is_ready and uuid == self._existing[vm]):
                await asyncio.gather(*(command.id.future() for command in node))
        except Exception:
            # The engine reports it.
            self._failed = self._failed or vm
        finally:
            self._places.release()
