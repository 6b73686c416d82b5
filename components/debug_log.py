"""What the program itself logs for `--debug`."""

import pulumi

OUTPUTS = ("register resource outputs prepared", ", props=")
"""How the SDK begins the message that has a stack's outputs, and what they follow. They stand there unencrypted:
https://github.com/pulumi/pulumi/blob/master/sdk/python/lib/pulumi/runtime/resource.py."""


def without_outputs() -> None:
    """Has the SDK log that outputs were registered, but not which: kubeconfig and SSH key are among them."""
    log = pulumi.log.debug
    beginning, follows = OUTPUTS

    def debug(
        message: str,
        resource: pulumi.Resource | None = None,
        stream_id: int | None = None,
        ephemeral: bool | None = None,
    ) -> None:
        shown = message.partition(follows)[0] if message.startswith(beginning) else message
        log(shown, resource, stream_id, ephemeral)

    pulumi.log.debug = debug
