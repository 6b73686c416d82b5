"""The SHA-256 of each release that `lab/versions.toml` does not list, in a file beside the stack files.

It is recorded when a release is first downloaded, and holds from then on: for later runs, for other checkouts with the
same file, and for everybody who reviews the change to the file.
"""

from __future__ import annotations

import re
from pathlib import Path

from system.errors import ToolchainError
from system.files import CHECKOUT, locked, write_atomically

LOCK_FILE = CHECKOUT / "versions.lock"
HEADER = (
    "# SHA-256 and URL of releases that lab/versions.toml does not list, recorded at the first download.\n"
    "# Keep this file in Git. Remove a line only to accept another content of the release.\n"
)


class ReleaseLock:
    """The records in a file. Each method reads the file again, because several processes may write to it."""

    def __init__(self, file: Path | None = None) -> None:
        """Use a file, by default that of this checkout. It need not exist."""
        self.file = file or LOCK_FILE

    def sha256(self, url: str) -> str:
        """Return the recorded SHA-256 of a release, or "" if it was never downloaded."""
        return self._records().get(url, "")

    def record(self, url: str, sha256: str) -> None:
        """Record the SHA-256 of a release."""
        with locked(self.file.with_name(f".{self.file.name}"), "another run writes versions.lock; waiting"):
            records = self._records() | {url: sha256}
            lines = [f"{digest}  {each}\n" for each, digest in sorted(records.items())]
            write_atomically(self.file, HEADER + "".join(lines))

    def _records(self) -> dict[str, str]:
        if not self.file.exists():
            return {}
        lines = [line for line in self.file.read_text().splitlines() if line and not line.startswith("#")]
        for line in lines:
            if not re.fullmatch(r"[0-9a-f]{64}\s+\S+", line):
                raise ToolchainError(f"{self.file.name}: this line is not a SHA-256 and a URL; correct it: {line}")
        return {url: digest for digest, url in (line.split(maxsplit=1) for line in lines)}
