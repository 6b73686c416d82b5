"""The command line of the toolchain: `python3 -m toolchain --help`."""

from __future__ import annotations

import argparse
import sys

from toolchain import binaries
from toolchain.errors import ToolchainError


def main() -> int:
    w = binaries.Workshop()
    for (name, version), b in binaries.ensure(binaries.parse(sys.argv[2:]), w).items():
        print(name, version, b.sha256, b.path)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolchainError as error:
        sys.exit(f"toolchain: {error}")
