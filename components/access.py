"""What a person reaches a lab by: the files of kubectl and ssh on the machine that `pulumi up` is run on."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_command as command

from components import local
from components.connection import interpreter
from host.access.access_files import NEEDED, REACHED_BY


def access(outputs: Mapping[str, Any], *, parent: pulumi.Resource) -> command.local.Command:
    """Writes the files as soon as what they say is known, so that a lab that fails to come up can be looked at.

    They go when the lab does.

    outputs: the lab's.
    """
    told = {key: outputs[key] for key in NEEDED if key in outputs}
    # Of a node no more than how it is reached: it is not to be written anew for a label.
    told["nodes"] = {
        name: {key: node[key] for key in REACHED_BY if key in node} for name, node in told["nodes"].items()
    }
    stack = pulumi.get_stack()
    program = f"{interpreter()} -m host.access"
    return local.run(
        "access",
        create=f"{program} write {stack}",
        delete=f"{program} remove {stack}",
        stdin=pulumi.Output.json_dumps(told),
        opts=pulumi.ResourceOptions(parent=parent),
    )
