"""Stack traces that the Pulumi SDK sends with each resource."""

from pulumi.runtime import resource
from pulumi.runtime.proto import source_pb2


def omit() -> None:
    """Register resources without stack traces, which the engine only records in its state.

    Collecting them takes about a third of the program's time in a lab of several hundred nodes. They also record
    absolute paths of the checkout.
    """
    resource._get_stack_trace = source_pb2.StackTrace
