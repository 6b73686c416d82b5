"""Write or remove the files to reach a lab: python -m host.access {write,remove} STACK.

The program's resource `access` runs this command, and existing stacks have recorded its name. `write` reads JSON on
standard input: the outputs in `access_files.NEEDED`.
"""

import json
import sys

from host.access.access_files import AccessDetails, remove, write
from host.workspace import Workspace, short_stack_name
from system.files import CHECKOUT

if __name__ == "__main__":
    verb, name = sys.argv[1], short_stack_name(sys.argv[2])
    checkout = Workspace(CHECKOUT)
    if verb == "write":
        write(checkout, name, AccessDetails.from_dict(json.load(sys.stdin)))
    else:
        remove(checkout, name)
