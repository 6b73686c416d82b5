"""The Pulumi SDK's own debug messages."""

import pulumi


def silence() -> None:
    """Stop the SDK's debug messages. With `--debug`, those of the engine and the plugins remain.

    The SDK's messages contain the stack's outputs in plain text, including the kubeconfig and the SSH key. There are
    about five for each resource. The SDK sends them to the engine whether or not it shows them, and the whole program
    waits: https://github.com/pulumi/pulumi/blob/master/sdk/python/lib/pulumi/log.py.
    """

    def debug(
        msg: str,
        resource: pulumi.Resource | None = None,
        stream_id: int | None = None,
        ephemeral: bool | None = None,
    ) -> None:
        pass

    pulumi.log.debug = debug
