"""Command line of the documentation generator.

python3 -m dev.reference            write the generated parts
python3 -m dev.reference --check    fail if a generated part is out of date
"""

import argparse
import sys
from collections.abc import Sequence

from dev.reference.documents import outdated, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the generated parts.

    Returns:
        The exit code: 1 if `--check` finds a document that is out of date.
    """
    parser = argparse.ArgumentParser(prog="python3 -m dev.reference", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a document is out of date")
    documents = outdated()
    if parser.parse_args(arguments).check:
        for path in documents:
            print(f"{path} is out of date: run python3 -m dev.reference", file=sys.stderr)
        return 1 if documents else 0
    write(documents)
    return 0


if __name__ == "__main__":
    sys.exit(main())
