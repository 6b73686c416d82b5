"""Running something on the machine that `pulumi up` is run on. Nobody else does."""

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
    """Runs `create` in the project's folder now, and again whenever anything of it changes; `delete` when it goes.

    Nothing of its output is logged or handed to a later run.
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
