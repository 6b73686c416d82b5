"""Brings binaries and image archives to a node's store, over one connection, sending only what is not there.

Run by `components.connection` as a program of its own: standard input has the login as JSON, the environment the node's
name (HARDWAY_NODE), and a line for each artifact that it must have (HARDWAY_BINARIES).
"""

import contextlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from components import artifacts
from host.access import ssh
from lab.node.paths import PROGRAMS
from system.errors import HardwayError
from toolchain.cache import Cache

ATTEMPTS = 3


class PushError(Exception):
    """The node could not be given what it lacks. The message says which node and why."""


def wanted(lines: str) -> dict[str, Path]:
    """Digest to the file here, from lines as `components.artifacts` writes them.

    Raises PushError where a file here is not the one that was asked for.
    """
    asked = dict(map(artifacts.from_line, lines.splitlines()))
    table = {}
    for artifact, (path, digest) in artifacts.find(asked).items():
        if digest != asked[artifact]:
            raise PushError(f"{artifact.name} {artifact.version} was made anew here meanwhile; run `pulumi up` again")
        table[digest] = path
    return table


def push(command: list[str], files: Mapping[str, Path], *, verify: bool) -> int:
    """Sends what the node says it lacks; returns how many bytes that was.

    verify: whether the node is to read what it has, rather than to trust that what it once stored is still whole.
    Raises PushError with what the node or the SSH client said, and ToolchainError where what it lacks is damaged here.
    """
    receive = f"{PROGRAMS}/receive-binaries{' --verify' if verify else ''}"
    lacking: dict[str, Path] = {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, receive], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdin
        assert process.stdout
        # Where this breaks off, the node lacks something in the end, and says so.
        with contextlib.suppress(OSError, tarfile.TarError), process.stdin:
            lacking = _ask(process.stdin, process.stdout, files)
            _send(process.stdin, lacking)
        if process.wait() != 0:
            Cache().expect_whole(lacking.values())
            errors.seek(0)
            raise PushError(errors.read().strip() or f"ssh ended with {process.returncode}")
    return sum(path.stat().st_size for path in lacking.values())


def _ask(to_node: IO[bytes], from_node: IO[bytes], files: Mapping[str, Path]) -> dict[str, Path]:
    to_node.write("".join(f"{digest}\n" for digest in files).encode() + b"\n")
    to_node.flush()
    lacking = {}
    while digest := from_node.readline().strip().decode():
        lacking[digest] = files[digest]
    return lacking


def _send(to_node: IO[bytes], files: Mapping[str, Path]) -> None:
    with tarfile.open(fileobj=to_node, mode="w|") as tar:
        for digest, path in files.items():
            tar.add(path, digest)


def main() -> int:
    """Runs the push; its exit code is 1, with a sentence on standard error, where the node did not get all."""
    node, login = os.environ["HARDWAY_NODE"], ssh.Login(**json.load(sys.stdin))
    try:
        files = wanted(os.environ["HARDWAY_BINARIES"])
    except (PushError, HardwayError) as error:
        print(f"binaries for {node} are not at hand: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="hardway-push-") as folder:
        command = ssh.command(Path(folder), login)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                sent = push(command, files, verify="HARDWAY_REPAIR" in os.environ)
            except (PushError, HardwayError) as error:
                if attempt == ATTEMPTS or isinstance(error, HardwayError):
                    print(f"binaries could not be brought to {node}: {error}", file=sys.stderr)
                    return 1
            else:
                print(f"{sent} bytes sent")
                return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
