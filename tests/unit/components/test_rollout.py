"""The number of workers that change a service at the same time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pulumi
import pytest

from components.canary import CanaryError
from components.connection import ScriptError
from components.rollout import Rollout, StoppedError
from lab.node.service import Service
from lab.spec import Spec


@pytest.fixture(autouse=True)
def _no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register no hooks, because there is no engine."""
    for kind in ("resource", "error"):
        monkeypatch.setattr(f"pulumi.resource_hooks.register_{kind}_hook", lambda _: None)


OLD, NEW = {"create": "service apply kubelet"}, {"create": "service apply kubelet # state 1"}

Gate = Callable[[], Awaitable[Any]]


@dataclass
class Gates:
    """Hooks before and after a node's change of a service, and after its failure."""

    before: Gate
    after: Gate
    failed: Gate


def gates(rollout: Rollout, node: str, service: str, drain: Any = None) -> Gates:
    """Return the hooks as the engine calls them, with the name of the resource."""
    of_node = Service(name=service, unit=f"{service}.service", files={})
    binding = rollout.hooks(f"{node}-{service}", node, of_node, drain)
    called_with = cast(Any, SimpleNamespace(name=f"{node}-{service}", old_inputs=OLD, new_inputs=NEW))
    [before], [after], [failed] = binding.before_update or [], binding.after_update or [], binding.on_error or []
    return Gates(*(partial(cast(Any, hook), called_with) for hook in (before, after, failed)))


async def simultaneous_changes(rollout: Rollout, services: list[str]) -> int:
    """Let one worker for each service change it, and return how many did so at the same time."""
    working = maximum = 0

    async def change(number: int, service: str) -> None:
        nonlocal working, maximum
        passed = gates(rollout, f"node-{number}", service)
        await passed.before()
        working += 1
        maximum = max(maximum, working)
        # Let all others run until they wait.
        for _ in range(10 * len(services)):
            await asyncio.sleep(0)
        working -= 1
        await passed.after()

    await asyncio.gather(*(change(*each) for each in enumerate(services)))
    return maximum


@pytest.mark.parametrize("simultaneous", [1, 2, 5])
def test_only_the_limit_changes_at_once(simultaneous: int) -> None:
    assert asyncio.run(simultaneous_changes(Rollout("workers", simultaneous), ["kubelet"] * 5)) == simultaneous


def test_services_do_not_wait_for_each_other() -> None:
    assert asyncio.run(simultaneous_changes(Rollout("workers", 1), ["kubelet", "kube-proxy", "containerd"])) == 3


def test_unfinished_worker_blocks_the_others() -> None:
    async def run() -> bool:
        rollout = Rollout("workers", 1)
        await gates(rollout, "node-0", "kubelet").before()
        waiting = asyncio.ensure_future(gates(rollout, "node-1", "kubelet").before())
        for _ in range(10):
            await asyncio.sleep(0)
        held = not waiting.done()
        waiting.cancel()
        return held

    assert asyncio.run(run())


def test_only_updates_have_hooks() -> None:
    binding = Rollout("workers", 1).hooks("node-kubelet", "node", Service(name="kubelet", files={}))
    used = {name for name, hooks in vars(binding).items() if hooks}
    assert isinstance(binding, pulumi.ResourceHookBinding)
    assert used == {"before_update", "after_update", "on_error"}


def test_failure_stops_waiting_workers() -> None:
    async def run() -> str:
        rollout = Rollout("workers", 1)
        failing, waiting = gates(rollout, "node-0", "kubelet"), gates(rollout, "node-1", "kubelet")
        await failing.before()
        later = asyncio.ensure_future(waiting.before())
        await asyncio.sleep(0)
        assert not await failing.failed()
        with pytest.raises(StoppedError) as stopped:
            await later
        return str(stopped.value)

    assert asyncio.run(run()) == "kubelet on node-0 failed, so kubelet on node-1 is left as it is"


@pytest.mark.parametrize(
    ("setting", "workers", "expected"),
    [(1, 5, 1), (3, 5, 3), ("20%", 5, 1), ("50%", 5, 2), ("1%", 5, 1), ("100%", 5, 5), ("50%", 1, 1)],
)
def test_percentage_rounds_down_to_at_least_one(setting: int | str, workers: int, expected: int, dev: Spec) -> None:
    some = replace(dev, max_unavailable=setting, workers=dev.workers[:1] * workers)
    assert some.simultaneous_restarts == expected


class FakeDrain:
    """A drain that records its calls, and fails if a pod stays."""

    def __init__(self, *, pod_stays: bool = False) -> None:
        self.calls: list[str] = []
        self._pod_stays = pod_stays

    async def begin(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Drain the node."""
        assert (old, new) == (OLD, NEW)
        self.calls.append("begin")
        if self._pod_stays:
            raise ScriptError("a pod stays")

    async def end(self) -> None:
        """Let pods run again."""
        self.calls.append("end")


def test_node_is_drained_during_the_change() -> None:
    async def run() -> list[str]:
        drain = FakeDrain()
        passed = gates(Rollout("workers", 1), "node-0", "kubelet", drain)
        await passed.before()
        drain.calls.append("change")
        await passed.after()
        return drain.calls

    assert asyncio.run(run()) == ["begin", "change", "end"]


def test_pods_return_after_a_failure() -> None:
    async def run() -> list[str]:
        drain = FakeDrain()
        passed = gates(Rollout("workers", 1), "node-0", "kubelet", drain)
        await passed.before()
        await passed.failed()
        return drain.calls

    assert asyncio.run(run()) == ["begin", "end"]


def test_undrained_node_is_not_changed_and_stops_others() -> None:
    async def run() -> None:
        rollout = Rollout("workers", 1)
        with pytest.raises(StoppedError, match=r"kubelet on node-0 is left as it is, because .* a pod stays"):
            await gates(rollout, "node-0", "kubelet", FakeDrain(pod_stays=True)).before()
        with pytest.raises(StoppedError, match="kubelet on node-0 failed, so kubelet on node-1"):
            await gates(rollout, "node-1", "kubelet").before()

    asyncio.run(run())


class FakeCanary:
    """A check that waits until a test answers.

    Attributes:
        checked: The nodes that were checked.
    """

    def __init__(self) -> None:
        self.checked: list[str] = []
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def check(self, variables: Mapping[str, str]) -> None:
        """Record the node and wait for the answer."""
        self.checked.append(variables["HARDWAY_NODE"])
        await self._answer

    def accept(self) -> None:
        """Let the check succeed."""
        self._answer.set_result(None)

    def refuse(self) -> None:
        """Let the check fail."""
        self._answer.set_exception(CanaryError("no answer"))


async def settle() -> None:
    """Let everything run that does not wait."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_others_follow_when_the_canary_accepts_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")

    async def run() -> None:
        canary = FakeCanary()
        rollout = Rollout("workers", 5, cast(Any, canary))
        first, others = gates(rollout, "node-0", "kubelet"), gates(rollout, "node-1", "kubelet")
        await first.before()
        waiting = asyncio.ensure_future(others.before())
        leaving = asyncio.ensure_future(first.after())
        await settle()
        assert (canary.checked, waiting.done()) == (["node-0"], False)
        canary.accept()
        await leaving
        await waiting
        await others.after()
        assert canary.checked == ["node-0"]

    asyncio.run(run())


def test_others_stop_when_the_canary_refuses_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")

    async def run() -> None:
        canary = FakeCanary()
        rollout = Rollout("workers", 5, cast(Any, canary))
        first = gates(rollout, "node-0", "kubelet")
        await first.before()
        waiting = asyncio.ensure_future(gates(rollout, "node-1", "kubelet").before())
        canary.refuse()
        with pytest.raises(CanaryError):
            await first.after()
        with pytest.raises(StoppedError, match="kubelet on node-0 failed, so kubelet on node-1 is left as it is"):
            await waiting

    asyncio.run(run())


class FakeCommand:
    """A command whose URN is known when it has run.

    Attributes:
        ran: The URN.
    """

    def __init__(self) -> None:
        self.ran: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @property
    def urn(self) -> Any:
        """The URN, as an output."""
        return SimpleNamespace(future=lambda: self.ran)


def ordered(simultaneous: int) -> tuple[list[Gates], list[FakeCommand]]:
    """Return the hooks and the commands of three workers that change in their order."""
    rollout = Rollout("workers", simultaneous, keeps_order=True)
    workers, commands = [], []
    for name in ("node-2", "node-1", "node-0"):
        workers.append(gates(rollout, name, "kubelet"))
        commands.append(FakeCommand())
        rollout.add(Service(name="kubelet", unit="kubelet.service", files={}), cast(Any, commands[-1]))
    return workers, commands


@pytest.mark.parametrize("simultaneous", [1, 2])
def test_workers_keep_their_order(simultaneous: int) -> None:
    async def run() -> None:
        workers, commands = ordered(simultaneous)
        waiting = [asyncio.ensure_future(worker.before()) for worker in reversed(workers)][::-1]
        for number, (worker, command) in enumerate(zip(workers, commands, strict=True)):
            await settle()
            assert [each.done() for each in waiting] == [each < number + simultaneous for each in range(3)]
            await worker.after()
            command.ran.set_result("urn")

    asyncio.run(run())


def test_a_service_follows_another_on_all_nodes() -> None:
    async def run() -> None:
        rollout = Rollout("control-planes", 1, follows={"kube-apiserver": "etcd"})
        commands = [FakeCommand(), FakeCommand()]
        for command in commands:
            rollout.add(Service(name="etcd", unit="etcd.service", files={}), cast(Any, command))
        waiting = asyncio.ensure_future(gates(rollout, "node-0", "kube-apiserver").before())
        await gates(rollout, "node-0", "kube-scheduler").before()
        commands[0].ran.set_result("changed")
        await settle()
        assert not waiting.done()
        commands[1].ran.set_exception(ScriptError("no"))
        await waiting

    asyncio.run(run())


def test_unchanged_and_failed_workers_keep_nobody_waiting() -> None:
    async def run() -> None:
        workers, commands = ordered(1)
        commands[0].ran.set_result("unchanged")
        await workers[1].before()
        waiting = asyncio.ensure_future(workers[2].before())
        await workers[1].failed()
        commands[1].ran.set_exception(ScriptError("no"))
        with pytest.raises(StoppedError, match="kubelet on node-1 failed, so kubelet on node-0 is left as it is"):
            await waiting

    asyncio.run(run())


def test_failed_first_node_stops_the_others_with_a_canary() -> None:
    async def run() -> None:
        rollout = Rollout("workers", 5, cast(Any, FakeCanary()))
        first = gates(rollout, "node-0", "kubelet")
        await first.before()
        waiting = asyncio.ensure_future(gates(rollout, "node-1", "kubelet").before())
        await first.failed()
        with pytest.raises(StoppedError, match="kubelet on node-0 failed"):
            await waiting

    asyncio.run(run())
