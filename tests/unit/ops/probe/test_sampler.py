"""The sampler, with real servers that fail for a while."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import pytest

from ops.probe.sampler import MAX_WAIT, TargetSampler
from ops.probe.timeline import Outcome, Timeline, count, longest_gap
from ops.probe.tunnel import Tunnel
from ops.probe.web import WebClient

TIMEOUT = 10.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ERROR = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Server:
    """A web server. A test changes the answer while requests are made.

    Attributes:
        answer: The answer. Empty to close the connection without one, None to be silent.
        closes: True to close each connection after an answer.
        port: Port of 127.0.0.1.
        requests: Number of requests so far.
    """

    answer: bytes | None = OK
    closes: bool = False
    port: int = 0
    requests: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while not writer.is_closing():
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            self.requests += 1
            if self.answer is not None:
                writer.write(self.answer)
                if self.closes or not self.answer:
                    writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for writer in self.writers:
                writer.transport.abort()

    def sampler(self, tunnel: Tunnel | None = None, interval: float = 0.02, timeout: float = TIMEOUT) -> TargetSampler:
        web = WebClient(lambda: asyncio.open_connection("127.0.0.1", self.port), "server")
        began = time.monotonic()
        clock = lambda: time.monotonic() - began  # noqa: E731
        return TargetSampler(partial(web.request, "GET", "/"), clock, interval=interval, timeout=timeout, tunnel=tunnel)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def succeeded(line: Timeline) -> int:
    return count(line.runs, Outcome.OK)


def failed(line: Timeline) -> int:
    return count(line.runs, Outcome.FAILED)


async def sampled(sampler: TargetSampler, steps: Callable[[Timeline], Awaitable[None]]) -> Timeline:
    """Return the timeline after some steps while the sampler runs."""
    task = asyncio.create_task(sampler.run())
    try:
        await steps(sampler.timeline)
    finally:
        sampler.stop()
        await task
    return sampler.timeline


@pytest.mark.parametrize("closes", [True, False])
def test_server_that_closes_connections_has_no_failure(closes: bool) -> None:
    server = Server(closes=closes)

    async def steps(line: Timeline) -> None:
        await until(lambda: succeeded(line) >= 5)
        for writer in server.writers:
            writer.close()
        await until(lambda: succeeded(line) >= 10)

    async def run() -> None:
        async with server.running():
            line = await sampled(server.sampler(), steps)
            assert (failed(line), longest_gap(line.runs, 1000)) == (0, 0)
            assert line.slowest > 0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(ERROR, "503 Service Unavailable"), (b"", "the connection was closed without an answer")],
)
def test_failure_lasts_as_long_as_the_server_fails(answer: bytes, reason: str) -> None:
    server = Server()

    async def steps(line: Timeline) -> None:
        await until(lambda: succeeded(line) >= 3)
        server.answer = answer
        await until(lambda: failed(line) >= 5)
        before, server.answer = failed(line), OK
        await until(lambda: line.runs[-1].outcome is Outcome.OK and failed(line) >= before)

    async def run() -> None:
        async with server.running():
            line = await sampled(server.sampler(), steps)
            assert [run.outcome for run in line.runs] == [Outcome.OK, Outcome.FAILED, Outcome.OK]
            first, failure, last = line.runs
            assert failure.error == reason
            assert longest_gap(line.runs, 1000) == last.first - first.last

    asyncio.run(run())


def test_server_that_is_away_refuses() -> None:
    server = Server()

    async def run() -> None:
        async with server.running():
            pass
        line = await sampled(server.sampler(), lambda line: until(lambda: failed(line) >= 3))
        assert [(run.outcome, run.error) for run in line.runs] == [(Outcome.FAILED, "Connection refused")]

    asyncio.run(run())


def test_silent_server_is_asked_again_before_the_time_out() -> None:
    server = Server(answer=None)

    async def steps(line: Timeline) -> None:
        await until(lambda: server.requests >= 2)
        server.answer = OK
        await until(lambda: failed(line) >= 2 and succeeded(line) >= 3)

    async def run() -> None:
        async with server.running():
            line = await sampled(server.sampler(timeout=3 * MAX_WAIT), steps)
            failure, success = line.runs[:2]
            assert (failure.outcome, success.outcome) == (Outcome.FAILED, Outcome.OK)
            assert failure.error == "no answer within 1.5 s"
            # The requests without an answer failed when they were made, not when they were given up.
            assert success.first - failure.last < 2 * MAX_WAIT

    asyncio.run(run())


def test_slow_server_is_asked_once_at_a_time() -> None:
    running = most = 0

    async def ask() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1

    async def run() -> None:
        sampler = TargetSampler(ask, time.monotonic, interval=0.01, timeout=TIMEOUT)
        await sampled(sampler, lambda line: until(lambda: succeeded(line) >= 3))
        assert most == 1

    asyncio.run(run())


@dataclass
class FakeTunnel:
    """A connection to a node. It breaks when a request fails, if it has a next trouble."""

    trouble: str = ""
    next_trouble: str = ""

    async def answers(self) -> bool:
        self.trouble = self.next_trouble
        return not self.trouble


@pytest.mark.parametrize(
    ("tunnel", "outcome", "reason"),
    [
        (FakeTunnel(), Outcome.FAILED, "503 Service Unavailable"),
        (FakeTunnel(next_trouble="ssh: closed"), Outcome.UNKNOWN, "ssh: closed"),
        (FakeTunnel("ssh: no route"), Outcome.UNKNOWN, "ssh: no route"),
    ],
)
def test_failure_without_ssh_is_unknown(tunnel: FakeTunnel, outcome: Outcome, reason: str) -> None:
    server = Server(answer=ERROR)

    async def run() -> None:
        async with server.running():
            sampler = server.sampler(cast(Tunnel, tunnel))
            line = await sampled(sampler, lambda line: until(lambda: bool(line.runs)))
            assert (line.runs[0].outcome, line.runs[0].error) == (outcome, reason)

    asyncio.run(run())


def test_target_that_is_left_is_unknown_from_then_on() -> None:
    server = Server()

    async def steps(line: Timeline) -> None:
        await until(lambda: succeeded(line) >= 2)

    async def run() -> None:
        async with server.running():
            sampler = server.sampler()
            task = asyncio.create_task(sampler.run())
            await steps(sampler.timeline)
            sampler.stop("its pod was deleted")
            await task
            assert [run.outcome for run in sampler.timeline.runs] == [Outcome.OK, Outcome.UNKNOWN]
            assert sampler.timeline.runs[-1].error == "its pod was deleted"

    asyncio.run(run())


def test_requests_are_made_at_the_rate() -> None:
    server = Server()

    async def run() -> None:
        async with server.running():
            sampler = server.sampler(interval=0.1)
            line = await sampled(sampler, lambda line: until(lambda: succeeded(line) >= 6))
            [only] = line.runs
            # Never faster. How much slower depends on the machine.
            assert (only.last - only.first) / (only.count - 1) >= 0.09

    asyncio.run(run())
