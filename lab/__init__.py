"""The pure part of the program: from a stack's configuration to a typed spec, and from the spec to each node's files.

Nothing here uses Pulumi or the network, and nothing has side effects.
"""
