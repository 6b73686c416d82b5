"""Send binaries and image archives to a node's store over one connection, except those that the store has.

`components.connection` runs it as `python -m components.push`. Standard input has the login as JSON. The environment
has the node's name (HARDWAY_NODE) and a line for each artifact that the node must have (HARDWAY_BINARIES). With
HARDWAY_REPAIR, the node reads its store instead of trusting it.
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


class PushError(HardwayError):
    """The node did not get all artifacts. The message says why."""


def files_of(lines: str) -> dict[str, Path]:
    """Return SHA-256 to file on this machine, from lines that `components.artifacts` wrote.

    Raises:
        PushError: A file on this machine differs from the one that the program saw.
    """
    expected = dict(map(artifacts.from_line, lines.splitlines()))
    files = {}
    for artifact, (path, digest) in artifacts.find(expected).items():
        if digest != expected[artifact]:
            raise PushError(f"{artifact.name} {artifact.version} has been rebuilt here since; run `pulumi up` again")
        files[digest] = path
    return files


def push(command: list[str], files: Mapping[str, Path], *, verify: bool) -> int:
    """Send the files that the node reports as missing, and return the number of bytes.

    Args:
        command: SSH client, which runs the words after it on the node.
        files: SHA-256 to file.
        verify: True if the node reads every file in its store, rather than trust that it is still intact.

    Raises:
        PushError: The node or the SSH client failed. The message is theirs.
        HardwayError: A missing file is damaged on this machine.
    """
    receive = f"{PROGRAMS}/receive-binaries{' --verify' if verify else ''}"
    missing: dict[str, Path] = {}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([*command, receive], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdin
        assert process.stdout
        # If this is interrupted, the node finds that a file is missing, and reports it.
        with contextlib.suppress(OSError, tarfile.TarError), process.stdin:
            missing = _missing_on_node(process.stdin, process.stdout, files)
            _send(process.stdin, missing)
        if process.wait() != 0:
            Cache().require_intact(missing.values())
            errors.seek(0)
            raise PushError(errors.read().strip() or f"ssh ended with {process.returncode}")
    return sum(path.stat().st_size for path in missing.values())


def _missing_on_node(to_node: IO[bytes], from_node: IO[bytes], files: Mapping[str, Path]) -> dict[str, Path]:
    to_node.write("".join(f"{digest}\n" for digest in files).encode() + b"\n")
    to_node.flush()
    missing = {}
    while digest := from_node.readline().strip().decode():
        missing[digest] = files[digest]
    return missing


def _send(to_node: IO[bytes], files: Mapping[str, Path]) -> None:
    with tarfile.open(fileobj=to_node, mode="w|") as tar:
        for digest, path in files.items():
            tar.add(path, digest)


def main() -> int:
    """Push, and return the exit code: 1, with a message on standard error, if the node did not get all artifacts."""
    node, login = os.environ["HARDWAY_NODE"], ssh.Login(**json.load(sys.stdin))
    try:
        files = files_of(os.environ["HARDWAY_BINARIES"])
    except HardwayError as error:
        print(f"binaries for {node} are not available on this machine: {error}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="hardway-push-") as folder:
        command = ssh.command(Path(folder), login)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                sent = push(command, files, verify="HARDWAY_REPAIR" in os.environ)
            except HardwayError as error:
                if attempt == ATTEMPTS or not isinstance(error, PushError):
                    print(f"binaries could not be sent to {node}: {error}", file=sys.stderr)
                    return 1
            else:
                print(f"{sent} bytes sent")
                return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
