"""Labs of stacks other than the default one, and the tests that every such lab must pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.running_lab import RunningLab
from toolchain.cache import default_folder


class EveryLab:
    """Tests of every lab. Each test file subclasses this at the point of its order where they must run."""

    def test_pods_and_services_work(self, lab: RunningLab) -> None:
        smoke = lab.hardway("smoke")
        assert smoke.succeeded, smoke.output

    def test_clocks_are_correct(self, lab: RunningLab) -> None:
        assert lab.clock_errors() == {}

    def test_nothing_changes_and_nothing_differs(self, lab: RunningLab) -> None:
        assert lab.planned() == {}
        assert lab.verify() == []


def reduce_ha(lab: RunningLab) -> None:
    """Use fewer and smaller VMs in the stack `ha`, because two emulated CPUs must be enough for all of them."""
    values = lab.configuration
    lab.configure(
        controlPlanes=[node | {"vcpus": 1} for node in values["controlPlanes"]],
        workers=[node | {"vcpus": 1} for node in values["workers"][:2]],
    )


@contextmanager
def brought_up(stack: str, adjust: Callable[[RunningLab], object]) -> Iterator[RunningLab]:
    """Bring a stack up in a fresh clone, and destroy it in the end.

    Args:
        stack: The name of the stack.
        adjust: Changes the clone before the lab is brought up.
    """
    running = RunningLab.clone(default_folder() / "profiles", stack)
    try:
        adjust(running)
        up = running.hardway("up")
        assert up.succeeded, up.output
        yield running
        destroyed = running.hardway("destroy")
        assert destroyed.succeeded, destroyed.output
    finally:
        running.purge()
