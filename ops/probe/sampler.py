"""Asks a target at a steady rate and records the answers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from ops.probe.timeline import Outcome, Timeline
from ops.probe.tunnel import Tunnel
from ops.probe.web import AnswerError, reason_of

MAX_WAIT = 0.5
"""Seconds after which the next request no longer waits for the answer to the one before. A slow target is not asked
more often than it answers, and the end of a failure is seen soon although requests from before still wait."""

FAILURES = (AnswerError, OSError)
"""Errors of a request: no connection, no answer in time, or an answer that is an error."""


class TargetSampler:
    """Asks one target.

    Attributes:
        timeline: The answers.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[object]],
        clock: Callable[[], float],
        *,
        interval: float,
        timeout: float,
        tunnel: Tunnel | None = None,
    ) -> None:
        """Prepare the requests.

        Args:
            ask: Makes a request. It raises one of FAILURES if that fails.
            clock: Returns the seconds since the start.
            interval: Seconds between two requests.
            timeout: Seconds until an answer counts as missing.
            tunnel: The connection that requests go through, if any. While it is broken, nothing is known of the target.
        """
        self.timeline = Timeline()
        self._ask = ask
        self._clock = clock
        self._interval = interval
        self._timeout = timeout
        self._tunnel = tunnel
        self._stopped = asyncio.Event()

    def stop(self, reason: str = "") -> None:
        """Make no more requests. `run` returns after the last answer.

        Args:
            reason: Reason why nothing is known of the target from now on. Empty if the measurement ends.
        """
        self._stopped.set()
        if reason:
            now = self._clock()
            self.timeline.finish(self.timeline.begin(now), Outcome.UNKNOWN, now, reason)

    async def run(self, delay: float = 0.0) -> None:
        """Ask until `stop`.

        Args:
            delay: Seconds before the first request, so that targets are not all asked at the same moment.
        """
        running: set[asyncio.Task[None]] = set()
        task: asyncio.Task[None] | None = None
        due = last = self._clock() + delay
        while not await self._is_stopped_at(due):
            now = self._clock()
            if task is None or task.done() or now - last >= MAX_WAIT:
                last = now
                task = asyncio.create_task(self._request())
                running.add(task)
                task.add_done_callback(running.discard)
            due = max(due + self._interval, now)
        await asyncio.gather(*running)

    async def answer(self) -> str:
        """Make one request that is not recorded. Return the reason if it fails, else an empty text."""
        if self._tunnel is not None and self._tunnel.trouble:
            return self._tunnel.trouble
        try:
            async with asyncio.timeout(self._timeout):
                await self._ask()
        except FAILURES as error:
            return reason_of(error, self._timeout)
        return ""

    async def _is_stopped_at(self, due: float) -> bool:
        """Wait until a time. Return True as soon as the sampler is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(due - self._clock(), 0.001)):
                await self._stopped.wait()
        return self._stopped.is_set()

    async def _request(self) -> None:
        request = self.timeline.begin(self._clock())
        is_up = self._tunnel is None or not self._tunnel.trouble
        error = await self.answer()
        outcome = Outcome.FAILED if error else Outcome.OK
        # A request that fails because its SSH connection broke says nothing about the target.
        if error and self._tunnel is not None and not (is_up and await self._tunnel.answers()):
            outcome, error = Outcome.UNKNOWN, self._tunnel.trouble or error
        self.timeline.finish(request, outcome, self._clock(), error)
