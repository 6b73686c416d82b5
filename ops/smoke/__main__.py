"""Tries out what a cluster is for on a stack that is up, prints how each try went, and leaves nothing behind.

Its exit code: 0 where all is well, 1 where something failed, 2 where it could not be tried.
"""

import argparse
import contextlib
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from host.workspace import Workspace
from ops.clients import CommandError, Commands
from ops.smoke.cluster import Cluster
from ops.smoke.objects import manifest
from ops.smoke.rows import Result, Row, Verdict
from ops.smoke.trial import try_out
from system.files import CHECKOUT

LAYOUT = Workspace(CHECKOUT)
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class NotUpError(Exception):
    """The stack has no cluster that could be tried. The message says what to do."""


def main(
    arguments: Sequence[str] | None = None,
    commands: Commands | None = None,
    cluster_of: Callable[[Path, str], Cluster] = Cluster,
) -> int:
    """Tries it all out and returns the exit code.

    commands: what the stack is asked through. cluster_of: gives the cluster of a kubeconfig, seen through a namespace.
    Raises KeyboardInterrupt where it was interrupted, once nothing of it is left.
    """
    parser = argparse.ArgumentParser(
        prog="python3 -m ops.smoke",
        description="Tries pods on every node, Services, names, logs and commands in pods; leaves nothing behind.",
        epilog="Exit code: 0 all is well, 1 something failed, 2 it could not be tried.",
    )
    parser.add_argument("--stack", help="the stack (default: the one selected)")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    options = parser.parse_args(arguments)
    try:
        stack, nodes = _stack(commands or Commands(), options.stack)
        cluster = cluster_of(_kubeconfig(stack), f"hardway-smoke-{secrets.token_hex(4)}")
        verdict = _try_out(cluster, nodes)
    except (CommandError, NotUpError) as error:
        print(f"hardway: the cluster could not be tried: {error}", file=sys.stderr)
        return 2
    print(verdict.json() if options.json else verdict.text())
    return verdict.exit_code


def _stack(commands: Commands, given: str | None) -> tuple[str, list[str]]:
    """The name of the stack, and the nodes of it that run pods."""
    name = given or commands.selected_stack()
    outputs = commands.outputs(name)
    nodes = [node for node, said in outputs.get("nodes", {}).items() if "podCidr" in said]
    if not nodes:
        raise NotUpError(f"stack {name} has no node that runs pods; bring it up first: make up STACK={name}")
    return name, nodes


def _kubeconfig(stack: str) -> Path:
    name = stack.rpartition("/")[2]
    path = LAYOUT.kubeconfig(name)
    if not path.exists():
        raise NotUpError(f"{path} is not there; have it written: make access STACK={name}")
    return path


def _try_out(cluster: Cluster, nodes: Sequence[str]) -> Verdict:
    """Makes what it takes, tries it, and takes it away again, whatever happens."""
    with _interruptible():
        try:
            _say(f"making namespace {cluster.namespace}")
            cluster.create(manifest(cluster.namespace, nodes))
            rows = try_out(cluster, nodes, _say)
        finally:
            with _uninterruptible():
                removal = _removed(cluster)
    return Verdict((*rows, removal))


def _removed(cluster: Cluster) -> Row:
    """How the namespace went. Where it did not, that is said at once too: there may be no table."""
    _say(f"removing namespace {cluster.namespace}")
    began, target = time.monotonic(), f"namespace {cluster.namespace}"
    try:
        cluster.remove()
    except CommandError as error:
        _say(f"{target} may still be there: {error}")
        return Row(check="removal", target=target, result=Result.FAILED, reason=str(error))
    return Row(check="removal", target=target, seconds=time.monotonic() - began)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Has every signal that asks for an end raise KeyboardInterrupt, as that of Ctrl-C does."""
    with _handled(signal.default_int_handler):
        yield


@contextlib.contextmanager
def _uninterruptible() -> Iterator[None]:
    """Passes over the signals that ask for an end: what is under way is the way there."""
    with _handled(signal.SIG_IGN):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[..., None] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def _say(what: str) -> None:
    """Tells of progress, beside what a program reads."""
    print(f"hardway: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
