"""What the SDK logs of a run of the program, for `--debug`."""

import pulumi


def silence() -> None:
    """Has the SDK log nothing on its own account; what the engine and the plugins log for `--debug` stays.

    Its messages hold the outputs of the stack in plain text, the kubeconfig and the SSH key among them. And there are
    some five for each resource, told to the engine whether or not it shows them, while the whole program waits:
    https://github.com/pulumi/pulumi/blob/master/sdk/python/lib/pulumi/log.py.
    """

    def debug(
        msg: str,
        resource: pulumi.Resource | None = None,
        stream_id: int | None = None,
        ephemeral: bool | None = None,
    ) -> None:
        pass

    pulumi.log.debug = debug
