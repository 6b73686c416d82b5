"""The measurement itself: all targets, the nodes and the pods, until it is stopped."""

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from host.access.ssh import Login
from ops.probe.api import MERGE_PATCH, Api, get_items
from ops.probe.nodes import NodeHistory, ready_conditions
from ops.probe.objects import COUNTER
from ops.probe.pods import PodChange, pod_changes
from ops.probe.sampler import FAILURES, TargetSampler
from ops.probe.targets import OUTSIDE, PATH, Target
from ops.probe.timeline import Timeline
from ops.probe.tunnel import Tunnel
from ops.probe.web import Connection, WebClient, reason_of
from system.errors import HardwayError

START_TIMEOUT = 180
"""Seconds until each target must have answered once: kube-proxy learns about the Service with a delay on each node."""

OBSERVATION_INTERVAL = 1.0
"""Seconds between two looks at the nodes and at the pods of the probe."""

PODS_TIMEOUT = 60
"""Seconds for the list of all pods at the end, when the API server may be busy."""


class NotMeasurableError(HardwayError):
    """The cluster cannot be measured. The message says why."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The objects of a measurement.

    Attributes:
        api: The API server.
        namespace: Namespace of the probe.
        targets: The web servers to ask.
        logins: The nodes where requests begin, by name.
        interval: Seconds between two requests to a target.
        timeout: Seconds until an answer counts as missing.
    """

    api: Api
    namespace: str
    targets: Sequence[Target]
    logins: Mapping[str, Login]
    interval: float
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The result of a measurement. All times without another note are seconds since its start.

    Attributes:
        start: Start in seconds since 1970.
        seconds: Duration.
        targets: Name and source of each target, and its answers.
        nodes: States of the nodes.
        pods: Changes of pods. None if the API server did not list the pods at the end.
        notes: Parts that were not measured, with the reason.
    """

    start: float
    seconds: float
    targets: Sequence[tuple[str, str, Timeline]]
    nodes: NodeHistory
    pods: Sequence[PodChange] | None
    notes: Sequence[str]


@dataclass(eq=False)
class _Part:
    """A target, and the sampler that asks it."""

    name: str
    source: str
    sampler: TargetSampler
    pod: str = ""
    is_optional: bool = False

    def __str__(self) -> str:
        return f"{self.name} from {self.source}"


async def measure(plan: Plan, started: Callable[[], None], stopped: Callable[[], Awaitable[object]]) -> Measured:
    """Ask all targets until the measurement is stopped.

    Args:
        plan: The objects of the measurement.
        started: Called when all targets have answered once and the measurement begins.
        stopped: Returns when the measurement must end.

    Raises:
        NotMeasurableError: A target does not answer before the measurement begins.
    """
    with tempfile.TemporaryDirectory(prefix="hardway-probe-") as folder:
        async with _tunnels(Path(folder), plan) as tunnels:
            return await _Measurement(plan, tunnels).run(started, stopped)


@contextlib.asynccontextmanager
async def _tunnels(folder: Path, plan: Plan) -> AsyncIterator[dict[str, Tunnel]]:
    """Provide the SSH connection to each node, by the node's name."""
    tunnels = {}
    for index, (node, login) in enumerate(plan.logins.items()):
        forwards = {
            str(number): f"{target.address}:{target.port}"
            for number, target in enumerate(plan.targets)
            if target.source == node
        }
        # Short names, because the path of a socket has at most 107 characters.
        tunnels[node] = Tunnel(folder / str(index), login, forwards)
    tasks = [asyncio.create_task(tunnel.run()) for tunnel in tunnels.values()]
    try:
        yield tunnels
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Measurement:
    """A measurement, which runs once."""

    def __init__(self, plan: Plan, tunnels: Mapping[str, Tunnel]) -> None:
        self._plan = plan
        self._start = time.monotonic()
        self._observer = plan.api.client()
        self._nodes = NodeHistory()
        self._notes: list[str] = []
        self._parts = [*self._api_parts(), *self._web_parts(tunnels)]

    async def run(self, started: Callable[[], None], stopped: Callable[[], Awaitable[object]]) -> Measured:
        await self._wait_for_answers()
        try:
            pods = await self._all_pods()
        except FAILURES as error:
            raise NotMeasurableError(f"the API server does not list the pods: {error}") from None
        start, self._start = time.time(), time.monotonic()
        observer = asyncio.create_task(self._observe(start))
        delay = self._plan.interval / len(self._parts)
        samplers = [asyncio.create_task(part.sampler.run(number * delay)) for number, part in enumerate(self._parts)]
        started()
        await stopped()
        end = self._now()
        for part in self._parts:
            part.sampler.stop()
        await asyncio.gather(*samplers)
        observer.cancel()
        await asyncio.gather(observer, return_exceptions=True)
        return Measured(
            start=start,
            seconds=end,
            targets=[(part.name, part.source, part.sampler.timeline) for part in self._parts],
            nodes=self._nodes,
            pods=await self._changes(pods),
            notes=self._notes,
        )

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _api_parts(self) -> Iterator[_Part]:
        path = f"/api/v1/namespaces/{self._plan.namespace}/configmaps/{COUNTER}"
        reader, writer = self._plan.api.client(), self._plan.api.client()
        numbers = iter(range(2**62))

        async def read() -> None:
            await reader.request("GET", path)

        async def write() -> None:
            # The API server stores nothing if nothing changes.
            body = json.dumps({"data": {"number": str(next(numbers))}})
            await writer.request("PATCH", path, body, MERGE_PATCH)

        yield _Part("API read", OUTSIDE, self._sampler(read))
        yield _Part("API write", OUTSIDE, self._sampler(write))

    def _web_parts(self, tunnels: Mapping[str, Tunnel]) -> Iterator[_Part]:
        for number, target in enumerate(self._plan.targets):
            tunnel = tunnels[target.source] if target.is_inside else None
            client = WebClient(_connect(target, tunnel, str(number)), f"{target.address}:{target.port}")
            sampler = self._sampler(partial(client.request, "GET", PATH), tunnel)
            yield _Part(target.name, target.source, sampler, target.pod, target.is_optional)

    def _sampler(self, ask: Callable[[], Awaitable[object]], tunnel: Tunnel | None = None) -> TargetSampler:
        return TargetSampler(ask, self._now, interval=self._plan.interval, timeout=self._plan.timeout, tunnel=tunnel)

    async def _wait_for_answers(self) -> None:
        """Wait until each target answers. Optional ones that still do not are left out."""
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            troubles = await asyncio.gather(*(part.sampler.answer() for part in self._parts))
            silent = {part: trouble for part, trouble in zip(self._parts, troubles, strict=True) if trouble}
            required = [f"{part}: {trouble}" for part, trouble in silent.items() if not part.is_optional]
            if not required:
                break
            if time.monotonic() > deadline:
                raise NotMeasurableError("; ".join(required))
            await asyncio.sleep(OBSERVATION_INTERVAL)
        self._notes += [f"{part} was left out: {trouble}" for part, trouble in silent.items()]
        self._parts = [part for part in self._parts if part not in silent]

    async def _observe(self, start: float) -> None:
        """Look at the nodes and at the pods of the probe again and again."""
        pods = f"/api/v1/namespaces/{self._plan.namespace}/pods"
        while True:
            asked = self._now()
            try:
                async with asyncio.timeout(self._plan.timeout):
                    items = await get_items(self._observer, "/api/v1/nodes")
                    self._nodes.answer(self._now(), ready_conditions(items, start))
                    self._leave_deleted(await get_items(self._observer, pods))
            except FAILURES:
                self._nodes.silence(asked)
            await asyncio.sleep(OBSERVATION_INTERVAL)

    def _leave_deleted(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Ask no pod any longer that is being deleted: it ends its work, and another one takes its place."""
        kept = {item["metadata"]["name"] for item in items if "deletionTimestamp" not in item["metadata"]}
        for part in self._parts:
            if part.pod and part.pod not in kept:
                part.sampler.stop("its pod was deleted")
                self._notes.append(f"{part} was asked only until {self._now():.0f} s, when its pod was deleted")
                part.pod = ""

    async def _all_pods(self) -> list[dict[str, Any]]:
        return await get_items(self._observer, "/api/v1/pods")

    async def _changes(self, before: Sequence[Mapping[str, Any]]) -> list[PodChange] | None:
        try:
            async with asyncio.timeout(PODS_TIMEOUT):
                return pod_changes(before, await self._all_pods())
        except FAILURES as error:
            self._notes.append(f"the pods at the end are unknown: {reason_of(error, PODS_TIMEOUT)}")
            return None


def _connect(target: Target, tunnel: Tunnel | None, name: str) -> Callable[[], Awaitable[Connection]]:
    if tunnel is None:
        return lambda: asyncio.open_connection(target.address, target.port)
    return lambda: tunnel.open(name)
