"""Commands on the machine that runs `pulumi up`. No other module runs one."""

from collections.abc import Mapping

import pulumi
import pulumi_command as command


def run(
    name: str,
    *,
    create: str,
    delete: str | None = None,
    environment: Mapping[str, pulumi.Input[str]] | None = None,
    stdin: pulumi.Input[str] | None = None,
    opts: pulumi.ResourceOptions,
) -> command.local.Command:
    """Run a command in the project's folder. Its output is neither logged nor passed to a later run.

    Args:
        name: Name of the resource.
        create: Shell that runs first, and again whenever anything changes.
        delete: Shell that runs when the resource leaves the program.
        environment: Environment variables of both.
        stdin: Standard input of both.
        opts: Options of the resource.
    """
    return command.local.Command(
        name,
        create=create,
        delete=delete,
        environment=environment,
        stdin=stdin,
        logging=command.local.Logging.NONE,
        add_previous_output_in_env=False,
        opts=opts,
    )
