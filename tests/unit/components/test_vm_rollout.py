"""The number of VMs that are recreated at the same time."""

import asyncio
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.rollout import StoppedError
from components.vm_rollout import VmRollout

OLD = {f"vm-{number}": f"uuid-{number}" for number in range(4)}


class Lab:
    """VMs that the engine creates when their inputs are known.

    Attributes:
        seen: The VMs that the engine has seen, in order.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._ids: dict[str, asyncio.Future[Any]] = {}

    async def add(self, rollout: VmRollout, vm: str, is_ready: bool = True) -> None:
        """Register a VM, whose node consists of one command."""
        pool = rollout.in_turn(vm, pulumi.Output.from_input("pool"))
        rollout.end_turn(vm, self.resource(vm), [self.resource(f"{vm} node")], is_ready=is_ready)
        await pool.future()
        self.seen.append(vm)

    def finish(self, name: str, uuid: str | None) -> None:
        """Give a VM, or the command of its node, its ID."""
        self._future(name).set_result(uuid)

    def fail(self, name: str) -> None:
        """Let the creation of a VM fail."""
        self._future(name).set_exception(RuntimeError("no memory"))

    def _future(self, name: str) -> Any:
        return self._ids.setdefault(name, asyncio.get_running_loop().create_future())

    def resource(self, name: str) -> pulumi.CustomResource:
        """Return a resource that exists when `finish` gives it an ID."""
        output = SimpleNamespace(future=lambda: self._future(name))
        return cast(pulumi.CustomResource, SimpleNamespace(id=output, urn=output))


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def register(
    lab: Lab, rollout: VmRollout, vms: Sequence[str], *, is_ready: bool = True
) -> list[asyncio.Task[None]]:
    """Register VMs as the program does, and let the loop run until all of them wait."""
    tasks = [asyncio.ensure_future(lab.add(rollout, vm, is_ready)) for vm in vms]
    await settle()
    return tasks


async def settle() -> None:
    """Let everything run that does not wait."""
    for _ in range(100):
        await asyncio.sleep(0)


def test_new_vms_do_not_wait() -> None:
    async def test() -> None:
        lab = Lab()
        await register(lab, VmRollout({}, 1), list(OLD))
        assert lab.seen == list(OLD)

    run(test())


def test_recreated_vm_keeps_its_turn_until_its_node_is_back() -> None:
    async def test() -> None:
        lab = Lab()
        await register(lab, VmRollout(OLD, 1), ["vm-0", "vm-1"])
        assert lab.seen == ["vm-0"]
        lab.finish("vm-0", "another")
        await settle()
        assert lab.seen == ["vm-0"]
        lab.finish("vm-0 node", "done")
        await settle()
        assert lab.seen == ["vm-0", "vm-1"]

    run(test())


@pytest.mark.parametrize("uuid", ["uuid-0", None], ids=["stays", "is unknown in a preview"])
def test_other_vm_ends_its_turn_at_once(uuid: str | None) -> None:
    async def test() -> None:
        lab = Lab()
        await register(lab, VmRollout(OLD, 1), ["vm-0", "vm-1"])
        lab.finish("vm-0", uuid)
        await settle()
        assert lab.seen == ["vm-0", "vm-1"]

    run(test())


def test_node_that_an_interrupted_run_left_keeps_the_turn() -> None:
    async def test() -> None:
        lab = Lab()
        await register(lab, VmRollout(OLD, 1), ["vm-0", "vm-1"], is_ready=False)
        lab.finish("vm-0", "uuid-0")
        await settle()
        assert lab.seen == ["vm-0"]
        lab.finish("vm-0 node", "done")
        await settle()
        assert lab.seen == ["vm-0", "vm-1"]

    run(test())


def test_limit_is_the_number_of_turns() -> None:
    async def test() -> None:
        lab = Lab()
        await register(lab, VmRollout(OLD, 3), list(OLD))
        assert lab.seen == ["vm-0", "vm-1", "vm-2"]

    run(test())


def test_failure_stops_the_others() -> None:
    async def test() -> None:
        lab = Lab()
        _, waiting = await register(lab, VmRollout(OLD, 1), ["vm-0", "vm-1"])
        lab.fail("vm-0")
        await settle()
        with pytest.raises(StoppedError, match="vm-0 was not recreated completely, so this VM is left as it is"):
            await waiting

    run(test())


def test_turns_begin_after_a_command() -> None:
    async def test() -> None:
        lab = Lab()
        rollout = VmRollout(OLD, 2)
        rollout.start_after(lab.resource("limits"))
        await register(lab, rollout, ["vm-0", "vm-1"])
        assert lab.seen == []
        lab.finish("limits", "written")
        await settle()
        assert lab.seen == ["vm-0", "vm-1"]

    run(test())


def test_workers_wait_for_control_planes() -> None:
    async def test() -> None:
        lab = Lab()
        control_planes = VmRollout(OLD, 1)
        workers = VmRollout(OLD, 1, after=control_planes)
        await register(lab, control_planes, ["vm-0"])
        await register(lab, workers, ["vm-1"])
        assert lab.seen == ["vm-0"]
        lab.finish("vm-0", "uuid-0")
        await settle()
        assert lab.seen == ["vm-0", "vm-1"]

    run(test())
