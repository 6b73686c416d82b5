"""Writes or removes what reaching a lab takes: python -m host.access {write,remove} STACK.

The program's resource `access` calls it under this name, which existing stacks have recorded.
"""

import json
import sys

from host.access.access_files import remove, write
from host.workspace import Workspace
from system.files import CHECKOUT

if __name__ == "__main__":
    verb, name = sys.argv[1:]
    checkout = Workspace(CHECKOUT)
    if verb == "write":
        write(checkout, name, json.load(sys.stdin))
    else:
        remove(checkout, name)
