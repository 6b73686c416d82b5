"""What the program itself logs for `--debug`."""

import pulumi

FOLLOWS = ", props="
"""What the properties follow in the messages of the SDK that have a stack's outputs. They stand there unencrypted:
https://github.com/pulumi/pulumi/blob/master/sdk/python/lib/pulumi/runtime/resource.py."""


def without_properties() -> None:
    """Has the SDK log what it registers, but not with which properties: kubeconfig and SSH key are among them."""
    log = pulumi.log.debug

    def debug(
        msg: str,
        resource: pulumi.Resource | None = None,
        stream_id: int | None = None,
        ephemeral: bool | None = None,
    ) -> None:
        log(msg.partition(FOLLOWS)[0], resource, stream_id, ephemeral)

    pulumi.log.debug = debug
