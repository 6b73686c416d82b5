"""The files with which kubectl and ssh reach the lab, on the machine that runs `pulumi up`."""

from dataclasses import dataclass

import pulumi
import pulumi_command as command

from components import local
from components.connection import interpreter
from host.access.access_files import NEEDED, REACHED_BY
from lab.outputs import StackOutputs


@dataclass(frozen=True, kw_only=True)
class AccessArgs:
    """Arguments of `access`.

    Attributes:
        outputs: Outputs of the stack. They have the content of the files.
    """

    outputs: StackOutputs[pulumi.Input[str]]


def access(name: str, args: AccessArgs, opts: pulumi.ResourceOptions) -> command.local.Command:
    """Write the files as soon as their contents are known, and remove them with the lab.

    They do not wait for the nodes, so that a person can inspect a lab that fails to come up.
    """
    outputs = args.outputs.to_dict()
    needed = {key: outputs[key] for key in NEEDED if key in outputs}
    if args.outputs.administrator is not None:
        # Its group is known only when the control plane is up.
        needed["administrator"] = True
    # Only the values that a connection needs: a changed label must not write the files again.
    needed["nodes"] = {
        node: {key: values[key] for key in REACHED_BY if key in values} for node, values in outputs["nodes"].items()
    }
    stack = pulumi.get_stack()
    program = f"{interpreter()} -m host.access"
    return local.run(
        name,
        create=f"{program} write {stack}",
        delete=f"{program} remove {stack}",
        stdin=pulumi.Output.json_dumps(needed),
        opts=opts,
    )
